//! A study from outside: made of files, asked over real connections, read back from its database.

mod bad_input;
mod blind;
mod cached;
mod client;
mod hostile;
mod outcome;
mod test_study;
mod votes;
mod withdrawal;
