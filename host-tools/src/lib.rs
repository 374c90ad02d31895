//! fl-host: what a federation's people do on their own machines.
