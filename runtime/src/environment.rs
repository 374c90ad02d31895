//! The environment variables that the program reads. It reads no other.

/// Names a collaborator where the command line does not. It is the one word that a host says to an enclave;
/// it selects a certificate, and the certificate decides who the collaborator is.
pub const NAME_VARIABLE: &str = "FL_COLLABORATOR";

/// Is `1` under Gramine and unset elsewhere. A manifest fixes the variable, so in an enclave it is measured.
/// It chooses how system calls are made ([`fl_sys::syscall`]), and has replaced files synced again
/// (`files`). It changes nothing else.
pub const GRAMINE_VARIABLE: &str = "FL_GRAMINE";
