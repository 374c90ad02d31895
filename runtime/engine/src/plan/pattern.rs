//! Names of tensors or columns in a plan: a name, or the beginning of names with a `*` behind it.

/// An exact name, or a prefix with a final `*`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}
