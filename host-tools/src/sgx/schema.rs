//! The keys of Gramine's manifests, so that a misspelt key is refused and not measured.
//!
//! Gramine itself ignores an unknown key: `sgx.max_thread = 64` would give an enclave of four threads.

use toml::{Table, Value};

use crate::exit::{Exit, Failure};

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Flag,
    Number,
    Texts,
    /// A text or a table: trusted files, variables of the environment.
    Either,
    /// Tables, each with these keys alone.
    Mounts,
    /// One such table.
    Mount,
}

/// Refuses the first key that is unknown or has a value of the wrong type. `what` names the text.
///
/// # Errors
/// [`Exit::Failed`] with the key.
pub(super) fn check(table: &Table, what: &str) -> Result<(), Failure> {
    table.iter().try_for_each(|(key, value)| walk(key, value, what))
}

fn walk(path: &str, value: &Value, what: &str) -> Result<(), Failure> {
    match (kind(path), value) {
        (Some(kind), value) => check_kind(path, kind, value, what),
        (None, Value::Table(table)) if begins(path) => {
            table.iter().try_for_each(|(key, value)| walk(&format!("{path}.{key}"), value, what))
        }
        (None, _) => {
            let error = format!("{what}: unknown key {path}");
            Err(Failure::new(Exit::Failed, error)
                .maybe_hint(nearest(path).map(|near| format!("did you mean {near}?"))))
        }
    }
}

fn check_kind(path: &str, kind: Kind, value: &Value, what: &str) -> Result<(), Failure> {
    let texts = |list: &[Value]| list.iter().all(Value::is_str);
    let (fits, need) = match kind {
        Kind::Text => (value.is_str(), "a text"),
        Kind::Flag => (value.is_bool(), "true or false"),
        Kind::Number => (value.is_integer(), "a number"),
        Kind::Texts => (value.as_array().is_some_and(|list| texts(list)), "an array of texts"),
        Kind::Either => {
            (value.is_str() || value.is_table() || value.is_array(), "a text, a table or an array")
        }
        Kind::Mount => (value.is_table(), "a table"),
        Kind::Mounts => {
            (value.as_array().is_some_and(|list| list.iter().all(Value::is_table)), "an array of tables")
        }
    };
    if !fits {
        let error = format!("{what}: {path} is of type {}, but must be {need}", value.type_str());
        return Err(Failure::new(Exit::Failed, error));
    }
    let mounts = match value {
        Value::Table(mount) if kind == Kind::Mount => vec![mount],
        Value::Array(list) if kind == Kind::Mounts => list.iter().filter_map(Value::as_table).collect(),
        _ => Vec::new(),
    };
    for (number, mount) in mounts.into_iter().enumerate() {
        for (key, value) in mount {
            let (fits, need) = match key.as_str() {
                "enable_recovery" => (value.is_bool(), "true or false"),
                _ => (value.is_str(), "a text"),
            };
            if !MOUNT.contains(&key.as_str()) {
                let error = format!("{what}: unknown key {key} in the mount {path}[{number}]");
                let keys = format!("the keys of a mount are {}", MOUNT.join(", "));
                return Err(Failure::new(Exit::Failed, error).hint(keys));
            }
            if !fits {
                let error = format!("{what}: {path}[{number}].{key} must be {need}");
                return Err(Failure::new(Exit::Failed, error));
            }
        }
    }
    Ok(())
}

fn kind(path: &str) -> Option<Kind> {
    let chosen = |pattern: &str| {
        pattern.strip_suffix('*').is_some_and(|start| path.len() > start.len() && path.starts_with(start))
    };
    KEYS.iter().find(|(key, _)| *key == path || chosen(key)).map(|(_, kind)| *kind)
}

/// Whether a known key begins with this path.
fn begins(path: &str) -> bool {
    KEYS.iter().any(|(key, _)| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The key that differs least from `path`, if few letters differ.
fn nearest(path: &str) -> Option<&'static str> {
    let near = |key: &str| strsim::osa_distance(path, key);
    KEYS.iter().map(|(key, _)| *key).min_by_key(|key| near(key)).filter(|key| near(key) <= 3)
}

/// Every key, the parts between dots; `*` is a name that the manifest's author chooses.
const KEYS: [(&str, Kind); 58] = [
    ("fs.insecure__keys.*", Kind::Text),
    ("fs.mounts", Kind::Mounts),
    ("fs.root", Kind::Mount),
    ("fs.start_dir", Kind::Text),
    ("libos.check_invalid_pointers", Kind::Flag),
    ("libos.entrypoint", Kind::Text),
    ("loader.argv", Kind::Texts),
    ("loader.argv_src_file", Kind::Text),
    ("loader.entrypoint.sha256", Kind::Text),
    ("loader.entrypoint.uri", Kind::Text),
    ("loader.env.*", Kind::Either),
    ("loader.env_src_file", Kind::Text),
    ("loader.gid", Kind::Number),
    ("loader.insecure__disable_aslr", Kind::Flag),
    ("loader.insecure__use_cmdline_argv", Kind::Flag),
    ("loader.insecure__use_host_env", Kind::Flag),
    ("loader.log_file", Kind::Text),
    ("loader.log_level", Kind::Text),
    ("loader.uid", Kind::Number),
    ("sgx.allowed_files", Kind::Texts),
    ("sgx.cpu_features.amx", Kind::Text),
    ("sgx.cpu_features.avx", Kind::Text),
    ("sgx.cpu_features.avx512", Kind::Text),
    ("sgx.cpu_features.mpx", Kind::Text),
    ("sgx.cpu_features.pkru", Kind::Text),
    ("sgx.debug", Kind::Flag),
    ("sgx.edmm_enable", Kind::Flag),
    ("sgx.enable_stats", Kind::Flag),
    ("sgx.enclave_size", Kind::Text),
    ("sgx.file_check_policy", Kind::Text),
    ("sgx.insecure__allow_memfaults_without_exinfo", Kind::Flag),
    ("sgx.insecure__rpc_thread_num", Kind::Number),
    ("sgx.isvprodid", Kind::Number),
    ("sgx.isvsvn", Kind::Number),
    ("sgx.max_threads", Kind::Number),
    ("sgx.preheat_enclave", Kind::Flag),
    ("sgx.profile.enable", Kind::Text),
    ("sgx.profile.frequency", Kind::Number),
    ("sgx.profile.mode", Kind::Text),
    ("sgx.profile.with_stack", Kind::Flag),
    ("sgx.remote_attestation", Kind::Text),
    ("sgx.seal_key.flags_mask", Kind::Text),
    ("sgx.seal_key.misc_mask", Kind::Text),
    ("sgx.seal_key.xfrm_mask", Kind::Text),
    ("sgx.trusted_files", Kind::Either),
    ("sgx.use_exinfo", Kind::Flag),
    ("sgx.vtune_profile", Kind::Flag),
    ("sys.allowed_ioctls", Kind::Either),
    ("sys.brk.max_size", Kind::Text),
    ("sys.debug__mock_syscalls", Kind::Either),
    ("sys.disallow_subprocesses", Kind::Flag),
    ("sys.enable_extra_runtime_domain_names_conf", Kind::Flag),
    ("sys.enable_sigterm_injection", Kind::Flag),
    ("sys.experimental__enable_flock", Kind::Flag),
    ("sys.fds.limit", Kind::Number),
    ("sys.insecure__allow_eventfd", Kind::Flag),
    ("sys.ioctl_structs.*", Kind::Either),
    ("sys.stack.size", Kind::Text),
];
/// The keys of a mount.
const MOUNT: [&str; 5] = ["enable_recovery", "key_name", "path", "type", "uri"];

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        let failure = check(&text.parse().unwrap(), "m").unwrap_err();
        format!("{} | {}", failure.error, failure.hint.unwrap_or_default())
    }

    #[test]
    fn misspelt_and_mistyped_keys_are_refused() {
        let cases = [
            ("sgx.max_thread = 1", "m: unknown key sgx.max_thread | did you mean sgx.max_threads?"),
            ("loader.entry.uri = \"\"", "m: unknown key loader.entry | did you mean loader.env.*?"),
            ("a = 1", "m: unknown key a | "),
            ("mount.path = \"\"", "m: unknown key mount | "),
            ("sgx.debug = 1", "m: sgx.debug is of type integer, but must be true or false | "),
            ("loader.argv = [1]", "m: loader.argv is of type array, but must be an array of texts | "),
            ("fs.root = 1", "m: fs.root is of type integer, but must be a table | "),
        ];
        for (text, error) in cases {
            assert_eq!(said(text), error);
        }
        let mount = "fs.mounts = [{ path = \"/a\", uri = \"file:a\" }, { path = \"/b\", url = \"file:b\" }]";
        assert!(said(mount).starts_with("m: unknown key url in the mount fs.mounts[1]"), "{}", said(mount));
    }

    #[test]
    fn keys_of_gramine_are_taken() {
        let text = "loader.env.ANY = { passthrough = true }\nloader.env.B = \"b\"\nfs.root.type = \"tmpfs\"\n\
                    sgx.profile.mode = \"aex\"\nfs.insecure__keys.default = \"00\"\nsgx.trusted_files = [\"file:a\"]\n";
        check(&text.parse().unwrap(), "m").unwrap();
    }
}
