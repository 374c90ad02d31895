//! What the federation tests share: real processes in real workspaces.
