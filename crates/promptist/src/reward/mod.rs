//! The reward of an adapted prompt: how much more beautiful its images are, less how far they leave the
//! user's intent.
