//! What Promptist's servers have in common, and knows nothing of what they serve: [`Listener`] and
//! [`Connections`], an address and the connections to it, and [`PageFile`], a page inside the program.

mod connections;
mod page;

pub use connections::{ConnectionLimits, Connections, Listener};
pub use page::{PageFile, page_file};
