//! What the roles' enclaves trust and allow. A line more in either is a decision: change the lists here with
//! it.

use fl_engine::{
    Digest,
    plan::{PublicKey, Release, Released},
};
use toml::Value;

use super::*;
use crate::{
    plan,
    sgx::{measure_bytes, tests::bytes, trusted_files::Known},
};

fn paths() -> Paths {
    Paths {
        program: "/opt/fl/fl-runtime".into(),
        plan: "/opt/fl/plan.bin".into(),
        ca: "/opt/fl/ca.crt".into(),
        model: Some("/opt/fl/init.safetensors".into()),
        gramine: "/opt/gramine".into(),
    }
}

fn rendered(
    role: Role,
    target: Target,
    change: impl FnOnce(&mut RoleManifest<'_>),
) -> Result<Rendered, Failure> {
    rendered_with(role, target, &paths(), change)
}

fn rendered_with(
    role: Role,
    target: Target,
    paths: &Paths,
    change: impl FnOnce(&mut RoleManifest<'_>),
) -> Result<Rendered, Failure> {
    rendered_of(breast_cancer(), role, target, paths, change)
}

fn breast_cancer() -> Plan {
    Plan::parse(include_str!("../../templates/breast_cancer/plan.yaml")).unwrap()
}

/// The same plan, released to somebody else.
fn released(to: Option<ReleaseTo>) -> Plan {
    let release = to.map(|to| Release { what: Released::Last, to });
    breast_cancer().edited(|plan| plan.release = release).unwrap()
}

fn rendered_of(
    plan: Plan,
    role: Role,
    target: Target,
    paths: &Paths,
    change: impl FnOnce(&mut RoleManifest<'_>),
) -> Result<Rendered, Failure> {
    let layout = plan.layout().unwrap();
    let loaded = plan::Loaded { hash: plan.hash(), plan, layout };
    let footprint = plan::memory(&loaded);
    let libos = format!("{}/libsysdb.so", paths.gramine);
    let names = [&paths.program, &paths.plan, &paths.ca, &libos].into_iter().chain(&paths.model);
    let files = Known(names.map(|name| (name.clone(), Digest::of(name.as_bytes()))).collect());
    let mut made =
        RoleManifest { role, target, plan: &loaded.plan, footprint: &footprint, paths, svn: 1, edmm: false };
    change(&mut made);
    render(&made, &files, &Gramine::NEWEST)
}

fn texts(manifest: &Manifest, key: &str) -> Vec<String> {
    let list = manifest.value(key).and_then(Value::as_array).unwrap();
    list.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

/// `path < uri`, with the key's name where it is sealed.
fn mounts(manifest: &Manifest) -> Vec<String> {
    let list = manifest.value("fs.mounts").and_then(Value::as_array).unwrap();
    let part =
        |mount: &Value, key: &str| mount.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    list.iter()
        .map(|mount| {
            let (path, uri) = (part(mount, "path"), part(mount, "uri"));
            let kind =
                if part(mount, "type") == "encrypted" { part(mount, "key_name") } else { String::new() };
            format!("{path} < {uri} {kind}").trim_end().to_owned()
        })
        .collect()
}

#[test]
fn nothing_is_trusted_but_program_plan_ca_and_initial_model() {
    for (role, target) in EVERY {
        let made = rendered(role, target, |_| {}).unwrap();
        let trusted: Vec<&str> = made.trusted.iter().map(|t| t.uri.as_str()).collect();
        let mut agreed = vec!["file:/opt/fl/fl-runtime", "file:/opt/fl/plan.bin", "file:/opt/fl/ca.crt"];
        if role == Role::Aggregator {
            agreed.push("file:/opt/fl/init.safetensors");
        }
        assert_eq!(trusted, agreed, "{role} {target:?}");
        assert!(trusted.len() <= MOST_TRUSTED);
        assert!(made.text.len() <= MOST_BYTES, "{} bytes", made.text.len());
        let entrypoint = made.manifest.value("loader.entrypoint.uri").and_then(Value::as_str);
        assert_eq!(entrypoint, Some("file:/opt/gramine/libsysdb.so"));
    }
}

#[test]
fn the_host_writes_what_is_checked_inside_and_nothing_else() {
    let allowed = |role, target, to| {
        let made = rendered_of(released(to), role, target, &paths(), |_| {}).unwrap();
        texts(&made.manifest, "sgx.allowed_files")
            .iter()
            .map(|uri| uri.replace("file:/workspace/", ""))
            .collect::<Vec<_>>()
    };
    let (key, host, members) =
        (Some(ReleaseTo::Key(PublicKey([1; 32]))), Some(ReleaseTo::Host), Some(ReleaseTo::Members));
    let aggregator = ["plan/site.yaml", "plan/cols.yaml", "cert/", "logs/"];
    let releasing = ["plan/site.yaml", "plan/cols.yaml", "cert/", "save/released/", "logs/"];
    for (to, files) in
        [(None, &aggregator[..]), (members, &aggregator), (key, &releasing), (host, &releasing)]
    {
        assert_eq!(allowed(Role::Aggregator, Target::Sgx, to), files, "{to:?}");
    }
    assert_eq!(
        allowed(Role::Aggregator, Target::Direct, host),
        ["plan/site.yaml", "plan/cols.yaml", "cert/", "save/", "logs/"]
    );
    let collaborator = ["plan/site.yaml", "plan/cols.yaml", "plan/data.yaml", "data/", "cert/", "logs/"];
    let keeping =
        ["plan/site.yaml", "plan/cols.yaml", "plan/data.yaml", "data/", "cert/", "save/released/", "logs/"];
    for (to, files) in
        [(None, &collaborator[..]), (members, &keeping), (key, &collaborator), (host, &collaborator)]
    {
        assert_eq!(allowed(Role::Collaborator, Target::Sgx, to), files, "{to:?}");
    }
}

#[test]
fn the_key_and_saved_state_are_sealed_in_an_enclave() {
    let plan = released(Some(ReleaseTo::Host)).edited(|plan| plan.seal = Seal::Signer).unwrap();
    let made = rendered_of(plan, Role::Aggregator, Target::Sgx, &paths(), |_| {}).unwrap();
    assert_eq!(
        mounts(&made.manifest),
        [
            "/fl-runtime < file:/opt/fl/fl-runtime",
            "/workspace/plan/plan.bin < file:/opt/fl/plan.bin",
            "/workspace/plan/site.yaml < file:/workspace/plan/site.yaml",
            "/workspace/plan/cols.yaml < file:/workspace/plan/cols.yaml",
            "/workspace/cert < file:/workspace/cert",
            "/workspace/cert/ca.crt < file:/opt/fl/ca.crt",
            "/workspace/cert/private < file:/workspace/cert/private _sgx_mrsigner",
            "/workspace/save < file:/workspace/save _sgx_mrsigner",
            "/workspace/plan/init.safetensors < file:/opt/fl/init.safetensors",
            "/workspace/save/released < file:/workspace/save/released",
            "/workspace/logs < file:/workspace/logs",
        ]
    );
    let sealed = |role, target| {
        let made = rendered(role, target, |_| {}).unwrap();
        mounts(&made.manifest).iter().filter(|mount| mount.ends_with(" _sgx_mrenclave")).count()
    };
    assert_eq!(EVERY.map(|(role, target)| sealed(role, target)), [0, 2, 0, 2]);
}

#[test]
fn nothing_insecure_is_on_and_nothing_is_left_to_the_host() {
    for (role, target) in EVERY {
        let to = if role == Role::Aggregator { ReleaseTo::Host } else { ReleaseTo::Members };
        let made = rendered_of(released(Some(to)), role, target, &paths(), |_| {}).unwrap();
        for word in ["insecure", "argv_src_file", "env_src_file", "mock_syscalls", "/etc", "experimental"] {
            assert!(!made.text.contains(word), "{word} in {}", made.text);
        }
        let text = |key: &str| made.manifest.value(key).and_then(Value::as_str).unwrap().to_owned();
        let flag = |key: &str| made.manifest.value(key).and_then(Value::as_bool).unwrap();
        let argv: &[&str] = match role {
            Role::Aggregator => &["fl-runtime", "aggregator"],
            Role::Collaborator => &["fl-runtime", "collaborator", "--accept-first"],
        };
        assert_eq!(texts(&made.manifest, "loader.argv"), argv);
        assert_eq!(text("loader.log_level"), "error");
        assert_eq!(text("fs.root.type"), "tmpfs");
        assert!(flag("sys.enable_sigterm_injection") && flag("sys.disallow_subprocesses"));
        assert!(flag("sys.enable_extra_runtime_domain_names_conf"));
        assert!(!flag("sgx.debug") && !flag("sgx.use_exinfo"));
        assert_eq!(text("sgx.remote_attestation"), if target == Target::Sgx { "dcap" } else { "none" });
        let env = made.manifest.value("loader.env").and_then(Value::as_table).unwrap();
        let from_host: Vec<&String> =
            env.iter().filter(|(_, value)| value.is_table()).map(|(name, _)| name).collect();
        assert_eq!(env.get(fl_runtime::internal::GRAMINE_VARIABLE).and_then(Value::as_str), Some("1"));
        match role {
            Role::Aggregator => assert!(from_host.is_empty(), "{from_host:?}"),
            Role::Collaborator => assert_eq!(from_host, [fl_runtime::internal::NAME_VARIABLE]),
        }
        let product = made.manifest.value("sgx.isvprodid").and_then(Value::as_integer);
        assert_eq!(product, Some(if role == Role::Aggregator { 1 } else { 2 }));
    }
}

#[test]
fn every_line_of_a_template_has_its_reason_above_it() {
    for template in [AGGREGATOR, COLLABORATOR] {
        let mut explained = false;
        for (number, line) in template.lines().enumerate() {
            let line = line.trim();
            let bracket = matches!(line, "]" | "],");
            if line.starts_with('#') {
                explained = true;
            } else if !(line.is_empty() || line.starts_with("{%") || bracket) {
                assert!(explained, "line {}: {line}", number + 1);
                explained = false;
            }
        }
    }
}

#[test]
fn made_manifests_are_measured() {
    let pal = bytes("pal-a.elf");
    let one = rendered(Role::Aggregator, Target::Sgx, |_| {}).unwrap();
    let measured = measure_bytes(&one.text, "aggregator", &pal, &Gramine::NEWEST).unwrap();
    assert_eq!(measured.attributes.enclave_size, one.size.bytes.0);
    assert_eq!(measured.attributes.max_threads, one.size.max_threads());
    let other = rendered(Role::Aggregator, Target::Sgx, |made| made.svn = 2).unwrap();
    assert_ne!(
        measure_bytes(&other.text, "a", &pal, &Gramine::NEWEST).unwrap().measurement,
        measured.measurement
    );
}

#[test]
fn files_of_an_image_are_neither_in_the_workspace_nor_at_long_paths() {
    let with = |program: String| {
        let paths = Paths { program, ..paths() };
        rendered_with(Role::Aggregator, Target::Sgx, &paths, |_| {}).unwrap_err().error
    };
    assert_eq!(
        with("/workspace/logs/fl-runtime".into()),
        "Gramine would not check the trusted file file:/workspace/logs/fl-runtime: it is inside file:/workspace/logs/, \
         whose files are all allowed"
    );
    let long = with(format!("/{}", "x".repeat(MOST_BYTES)));
    assert!(long.contains("at most 8192 are allowed"), "{long}");
}

const EVERY: [(Role, Target); 4] = [
    (Role::Aggregator, Target::Direct),
    (Role::Aggregator, Target::Sgx),
    (Role::Collaborator, Target::Direct),
    (Role::Collaborator, Target::Sgx),
];
