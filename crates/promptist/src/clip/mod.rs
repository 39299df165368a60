//! CLIP: how well a picture fits a text, and the features that aesthetic heads score.
