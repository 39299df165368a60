//! The server from outside: real connections to a real server with the model `mini`.

mod adapt;
mod client;
mod hostile;
mod images;
mod limits;
mod openai;
mod others;
mod stop;
mod test_server;
