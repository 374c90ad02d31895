use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    cli::{self, transcript::transcript},
    files::tests::scratch,
    image::gramine_files,
    workspace,
};

/// A folder with a workspace, and an installation of Gramine, whatever is on this machine.
fn made(name: &str) -> PathBuf {
    let dir = scratch(name);
    let installed = gramine_files::tests::with_version(
        &format!("{name}-gramine"),
        b"pal",
        "1.9post (0123abcd)",
        "0123abcd",
    );
    std::os::unix::fs::symlink(installed, dir.join("g")).unwrap();
    workspace::create(
        &dir.join("w"),
        workspace::template("breast_cancer").unwrap(),
        None,
        &workspace::Trial::default(),
    )
    .unwrap();
    dir
}

#[test]
fn plan_commands_answer_as_their_transcript_says() {
    let dir = made("plan-cli");
    let mut found = transcript(
        &dir,
        &[
            "plan --help",
            "plan initialize --help",
            "plan check --gramine D/g --workspace D/w",
            "plan accept --show --workspace D/w",
            "plan initialize -a aggregator.example.org --workspace D/w",
            "plan accept --workspace D/w",
            "plan initialize -a a:7464 --workspace D/w",
        ],
    );
    let pem = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
    fs::write(dir.join("w/cert/ca.crt"), pem).unwrap();
    let old = fs::read_to_string(dir.join("w/plan/plan.yaml")).unwrap();
    found += &transcript(
        &dir,
        &[
            "plan initialize -a 10.0.0.1 --workspace D/w",
            "--json plan initialize -a 10.0.0.1 --seed 8 --workspace D/w",
            "plan initialize -a 10.0.0.1 --init-model D/w/save/w_init.safetensors --workspace D/w",
            "plan initialize -a 10.0.0.1 --init-model D/x.safetensors --seed 8 --workspace D/w",
            "plan accept --show --workspace D/w",
            "--json plan accept --workspace D/w",
            "plan accept --show --workspace D/w",
            "plan show --workspace D/w",
            "plan check --gramine D/g --workspace D/w",
            "--json plan check --gramine D/g --workspace D/w",
            "plan check --gramine D/none --workspace D/w",
            "plan show --workspace D/none",
        ],
    );
    assert_eq!(found, include_str!("../plan.txt"));
    let edited = fs::read_to_string(dir.join("w/plan/plan.yaml")).unwrap();
    let changed = old.lines().zip(edited.lines()).filter(|(a, b)| a != b).count();
    assert_eq!((changed, old.lines().count()), (1, edited.lines().count()));
    assert!(fs::read_to_string(dir.join("w/plan/site.yaml")).unwrap().contains("\naddress: \"10.0.0.1\"\n"));
}

#[test]
fn reference_explains_a_key_and_what_is_below_it() {
    let dir = scratch("plan-reference");
    let lines = [
        "plan reference --help",
        "plan reference rounds",
        "plan reference limits",
        "plan reference tasks.train.loss",
        "plan reference limits.memry",
        "plan reference zzz",
        "--json plan reference threads.link",
    ];
    assert_eq!(transcript(&dir, &lines), include_str!("../plan_reference.txt"));
    let all = cli::run(&["plan", "reference"]).out;
    assert!(all.starts_with("schema\n") && all.contains("\ntasks.*.rule.trimmed_mean.trim\n"), "{all}");
}

#[test]
fn refused_initialisation_changes_nothing() {
    let dir = made("plan-untouched");
    let files = ["w/plan/plan.yaml", "w/plan/site.yaml"];
    let read = || files.map(|file| fs::read_to_string(dir.join(file)).unwrap());
    fs::write(dir.join("w/cert/ca.crt"), "no certificate").unwrap();
    let before = read();
    let said = transcript(&dir, &["plan initialize -a 10.0.0.1 --workspace D/w"]);
    assert!(said.ends_with("=> 5\n"), "{said}");
    fs::remove_file(dir.join("w/cert/ca.crt")).unwrap();
    let said = transcript(&dir, &["plan initialize -a 10.0.0.1 --init-model D/none --workspace D/w"]);
    assert!(said.ends_with("=> 3\n"), "{said}");
    let plan = fl_engine::plan::Plan::parse(&before[0]).unwrap();
    let mut far = plan.initial_state().unwrap();
    far.f32[0] = -1.1e30;
    let far = fl_engine::model::safetensors::write(&far, &Default::default());
    fs::write(dir.join("far.safetensors"), far).unwrap();
    let said =
        transcript(&dir, &["plan initialize -a 10.0.0.1 --init-model D/far.safetensors --workspace D/w"]);
    assert!(said.contains("-1.1e30 in tensor") && said.contains("exact.value_bits"), "{said}");
    assert!(said.ends_with("=> 6\n"), "{said}");
    assert_eq!(read(), before);
    assert!(!dir.join("w/save/w_init.safetensors").exists());
}

#[test]
fn every_wrong_file_is_refused_with_line_column_and_what_is_allowed() {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/plans");
    let mut names: Vec<String> = fs::read_dir(&plans)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "good.yaml")
        .collect();
    names.sort();
    let dir = made("wrong-plans");
    let read = |name: &str| fs::read_to_string(plans.join(name)).unwrap();
    let untouched = ["plan", "site", "data"].map(|file| {
        let path = dir.join(format!("w/plan/{file}.yaml"));
        let text = match file {
            "plan" => read("good.yaml"),
            // The trial data are not those of this plan.
            "data" => String::new(),
            _ => fs::read_to_string(&path).unwrap(),
        };
        (path, text)
    });
    let restore = || untouched.iter().for_each(|(path, text)| fs::write(path, text).unwrap());
    restore();
    assert!(transcript(&dir, &["plan check --workspace D/w"]).ends_with("=> 0\n"));
    let mut found = String::new();
    for name in &names {
        restore();
        let file = name.split('_').next().filter(|kind| ["site", "data"].contains(kind)).unwrap_or("plan");
        fs::write(dir.join(format!("w/plan/{file}.yaml")), read(name)).unwrap();
        let said = transcript(&dir, &["plan check --workspace D/w"]);
        assert!(said.ends_with("=> 4\n"), "{name}: {said}");
        let (_, answer) = said.split_once('\n').unwrap();
        found += &format!("# {name}\n{answer}");
    }
    assert_eq!(found, include_str!("../plans.txt"));
}

#[test]
fn rule_server_and_threshold_are_shown_in_words() {
    let dir = made("plan-rule");
    let path = dir.join("w/plan/plan.yaml");
    let keys = "rule: {trimmed_mean: {trim: 0.2}}\n    server: {fedadam: {learning_rate: 0.1}}\n    \
                threshold: {task: aggregated_model_validation, metric: accuracy, min: 0.7}";
    let plan = fs::read_to_string(&path).unwrap();
    let plan = plan.replace("rule: weighted_mean", keys).replace("{min: 2, max: 3}", "{min: 5, max: 8}");
    fs::write(&path, plan).unwrap();
    let lines = [
        "plan show --workspace D/w",
        "plan check --gramine D/g --workspace D/w",
        "--json plan check --gramine D/g --workspace D/w",
    ];
    assert_eq!(transcript(&dir, &lines), include_str!("../plan_rule.txt"));
}

#[test]
fn plan_that_releases_nothing_is_warned_of() {
    let dir = made("plan-release");
    let path = dir.join("w/plan/plan.yaml");
    let plan = fs::read_to_string(&path).unwrap();
    let release = "release: {what: last, to: members}\n";
    fs::write(&path, plan.replace(release, "")).unwrap();
    let said = transcript(&dir, &["plan check --workspace D/w"]);
    assert!(said.contains("\nwarning: the plan has no key `release`: an enclave"), "{said}");
    assert!(said.ends_with("\nok\n=> 0\n"), "{said}");
    let said = transcript(&dir, &["plan show --workspace D/w"]);
    assert!(said.contains("\nrelease     nothing\n"), "{said}");
    fs::write(&path, plan).unwrap();
    assert!(!transcript(&dir, &["plan check --workspace D/w"]).contains("warning"));
}

#[test]
fn json_of_a_plan_has_the_plans_words_and_hashes_as_text() {
    let dir = made("plan-json");
    let root = dir.join("w").display().to_string();
    for args in [&["pki", "init"][..], &["plan", "initialize", "-a", "localhost"]] {
        let said = cli::run(&[args, &["--workspace", &root]].concat());
        assert_eq!(said.err, "");
    }
    let said = cli::run(&["--json", "plan", "show", "--workspace", &root]);
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let plan = &value["plan"];
    assert_eq!(plan["ca"].as_str().map(str::len), Some(64), "{plan}");
    assert_eq!(plan["tasks"][0]["metrics"], serde_json::json!(["accuracy", "loss"]));
    assert_eq!(plan["tasks"][1]["kind"]["train"]["optimiser"]["sgd"]["momentum"], 0.9f32);
    assert_eq!(plan["data"]["loader"]["csv"]["label"], serde_json::json!({"name": "diagnosis"}));
    assert_eq!(plan["release"], serde_json::json!({"what": "last", "to": "members"}));
    assert_eq!(plan["seal"], "mrenclave");
    // No name of a Rust variant.
    let words = plan.to_string();
    let rust = words.split('"').find(|word| word.starts_with(|c: char| c.is_ascii_uppercase()));
    assert_eq!(rust, None);
}

#[test]
fn federation_renamed_after_pki_init_is_refused_by_every_command_that_hands_the_plan_on() {
    let dir = made("plan-renamed");
    let root = dir.join("w").display().to_string();
    let run = |args: &[&str]| cli::run(&[args, &["--workspace", &root]].concat());
    for args in [&["pki", "init"][..], &["plan", "initialize", "-a", "localhost"]] {
        assert_eq!(run(args).err, "");
    }
    let file = dir.join("w/plan/plan.yaml");
    let plan = fs::read_to_string(&file).unwrap();
    fs::write(&file, plan.replace("federation: \"w\"", "federation: other")).unwrap();
    let commands: [&[&str]; 4] = [
        &["plan", "initialize"],
        &["plan", "check"],
        &["workspace", "export"],
        &["workspace", "dockerize", "--native-target"],
    ];
    for args in commands {
        let said = run(args);
        assert_eq!(said.exit as u8, 4, "{}", said.err);
        assert!(
            said.err.starts_with(
                "error: plan/plan.yaml names the federation other, but the CA and the roster belong to w\nhint: set `federation: w`"
            ),
            "{}",
            said.err
        );
    }
}

#[test]
fn second_experiment_keeps_address_and_model() {
    let dir = made("plan-second");
    let root = dir.join("w").display().to_string();
    let run = |args: &[&str]| cli::run(&[args, &["--workspace", &root]].concat());
    assert_eq!(run(&["pki", "init"]).err, "");
    // Nobody has said the address yet: the template's is not taken for it.
    let said = run(&["plan", "initialize"]);
    assert!(said.exit as u8 == 2 && said.err.contains("address is not known yet"), "{}", said.err);
    assert_eq!(run(&["plan", "initialize", "-a", "agg.example.org"]).err, "");
    let file = dir.join("w/plan/plan.yaml");
    let plan = fs::read_to_string(&file).unwrap();
    fs::write(&file, plan.replace("rounds: 10", "rounds: 20")).unwrap();
    // The model in place still belongs to the plan; the address stays.
    assert_eq!(run(&["plan", "check"]).err, "");
    let said = run(&["plan", "initialize"]);
    assert!(said.out.contains("\naddress  agg.example.org\n"), "{}{}", said.out, said.err);
    fs::write(&file, plan.replace("seed: 7", "seed: 8")).unwrap();
    let said = run(&["plan", "check"]);
    assert!(said.exit as u8 == 6 && said.err.contains("was made for another plan"), "{}", said.err);
}

#[test]
fn openfl_plan_is_imported_once() {
    let dir = scratch("plan-import");
    let openfl = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/import/kvasir.yaml");
    fs::copy(openfl, dir.join("openfl.yaml")).unwrap();
    fs::write(dir.join("list.yaml"), "- a\n").unwrap();
    let found = transcript(
        &dir,
        &[
            "plan import D/openfl.yaml --output D/plan.yaml",
            "plan import D/openfl.yaml --output D/plan.yaml",
            "plan import D/list.yaml --output D/other.yaml",
        ],
    );
    assert_eq!(found, include_str!("../plan_import.txt"));
}

#[test]
fn enclaves_are_added_up_for_the_gramine_that_is_there_or_the_newest() {
    let dir = made("plan-gramine");
    let said = transcript(&dir, &["plan check --gramine D/g --workspace D/w"]);
    assert!(said.contains("\ngramine 1.9post (0123abcd)\nenclave of the aggregator: "), "{said}");
    fs::remove_file(dir.join("g")).unwrap();
    let versionless = gramine_files::tests::installation("plan-versionless", b"pal");
    std::os::unix::fs::symlink(versionless, dir.join("g")).unwrap();
    let said = transcript(&dir, &["plan check --gramine D/g --workspace D/w"]);
    assert!(said.contains("\ngramine unknown; enclave sizes are for 1.9\n"), "{said}");
    // Without a word the machine's own, which may be none.
    let said = transcript(&dir, &["plan check --workspace D/w"]);
    let line = match gramine_files::installed(None).unwrap() {
        Some(said) => format!("\ngramine {said}"),
        None => "\ngramine not installed; enclave sizes are for 1.9\n".to_owned(),
    };
    assert!(said.contains(&line) && said.ends_with("\nok\n=> 0\n"), "{said}");
}

#[test]
fn plan_is_accepted_at_a_site_that_has_no_save_folder_yet() {
    let dir = made("plan-accept");
    fs::remove_dir_all(dir.join("w/save")).unwrap();
    let found = transcript(&dir, &["plan accept --workspace D/w"]);
    assert!(found.ends_with("=> 0\n"), "{found}");
    assert!(dir.join("w/save/accepted-plan").is_file());
}

#[test]
fn check_says_how_much_disk_the_kept_rounds_take() {
    let dir = made("plan-keep");
    let file = dir.join("w/plan/plan.yaml");
    let plan = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{plan}keep: {{every: 4, most: 2}}\n")).unwrap();
    let root = dir.join("w").display().to_string();
    let said = cli::run(&["plan", "check", "--workspace", &root]);
    let line = "\nkeep every 4 rounds, the newest 2: at most 2 rounds and as many best models in save/kept, 8480 B\n";
    assert!(said.out.contains(line), "{}{}", said.out, said.err);
    let json = cli::result(&["plan", "check", "--workspace", &root]).unwrap();
    assert_eq!(json["keep"], serde_json::json!({"rounds": 2, "bytes": 8480}));
    let shown = cli::run(&["plan", "show", "--workspace", &root]).out;
    assert!(shown.contains("\nkeep        every 4 rounds, the newest 2: "), "{shown}");
}
