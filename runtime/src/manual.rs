//! The manual: what the program is made of, what travels, who is trusted with what, and how it is run.
//!
//! Chapters hold documentation alone; `cargo doc --no-deps -p fl-runtime --open` shows them. What they say of messages,
//! bounds and files is the code's: where the two differ, the chapter is wrong.

pub mod aggregation;
pub mod architecture;
pub mod enclaves;
pub mod files;
pub mod operating;
pub mod protocol;
pub mod threat_model;
