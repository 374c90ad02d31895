//! Each kind of input, changed by itself.

use fl_engine::{Digest, plan::Plan};

use super::*;
use crate::sgx::{
    MeasuredEnclave, measure_bytes,
    tests::{bytes, text},
};

fn measured(manifest: &str, pal: &str) -> MeasuredEnclave {
    measure_bytes(manifest, "m", &bytes(pal), &Gramine::NEWEST).unwrap()
}

fn record(manifest: &str, pal: &str) -> EnclaveRecord {
    EnclaveRecord::of(&measured(manifest, pal), manifest, &Gramine::NEWEST)
}

fn said(before: &EnclaveRecord, after: &EnclaveRecord) -> Vec<String> {
    explain(before, after).unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn each_changed_input_is_named_with_both_values() {
    let plain = text("plain.manifest.sgx");
    let one = record(&plain, "pal-a.elf");
    assert_eq!(said(&one, &one), [""; 0]);
    let changed = |from: &str, to: &str| {
        assert!(plain.contains(from), "{from}");
        said(&one, &record(&plain.replace(from, to), "pal-a.elf"))
    };
    assert_eq!(changed("max_threads = 8", "max_threads = 9"), ["size     sgx.max_threads: 8 -> 9"]);
    assert_eq!(changed("\"256M\"", "\"512M\""), ["size     sgx.enclave_size: \"256M\" -> \"512M\""]);
    assert_eq!(changed("isvsvn = 3", "isvsvn = 4"), ["setting  sgx.isvsvn: 3 -> 4"]);
    assert_eq!(changed("5891b5b5", "00000000"), ["file     file:hello.txt: 5891b5b522d5 -> 0000000022d5"]);
    assert_eq!(changed("1fccecfb", "00000000"), ["gramine  libsysdb.so: 1fccecfba8a5 -> 00000000a8a5"]);
    assert_eq!(
        changed("    \"aggregator\",\n", "    \"collaborator\",\n"),
        [
            "setting  loader.argv: [ \"fl-runtime\", \"aggregator\", ] -> [ \"fl-runtime\", \"collaborator\", ]"
        ]
    );
    assert_eq!(
        changed("uri = \"file:dir/a.bin\"", "uri = \"file:dir/z.bin\""),
        [
            "file     file:dir/a.bin: ca978112ca1b -> absent",
            "file     file:dir/z.bin: absent -> ca978112ca1b"
        ]
    );
    assert_eq!(
        changed("debug = false\n", ""),
        [
            "form     the manifest's text: the same values in another order or spelling: 965 bytes -> 951 bytes"
        ]
    );
    let pal = said(&one, &record(&plain, "pal-b.elf"));
    assert!(pal.len() == 1 && pal[0].starts_with("gramine  libpal.so: "), "{pal:?}");
    let older = EnclaveRecord { gramine: Some("1.8".into()), ..one.clone() };
    assert_eq!(said(&older, &one), ["gramine  version: 1.8 -> 1.9"]);
}

#[test]
fn lines_of_the_plan_are_named() {
    let yaml = include_str!("../../templates/breast_cancer/plan.yaml");
    let plain = text("plain.manifest.sgx");
    let with = |plan: &str| record(&plain, "pal-a.elf").with_plan(&Plan::parse(plan).unwrap());
    let changed = yaml.replace("rounds: 10", "rounds: 12");
    assert_ne!(changed, yaml);
    assert_eq!(said(&with(yaml), &with(&changed)), ["plan     rounds: 10 -> 12"]);
    let plan = Plan::parse(yaml).unwrap().edited(|plan| plan.tasks.swap(0, 1)).unwrap();
    let swapped = record(&plain, "pal-a.elf").with_plan(&plan);
    assert_eq!(
        said(&with(yaml), &swapped),
        ["plan     tasks: aggregated_model_validation, train, locally_tuned_model_validation -> \
          train, aggregated_model_validation, locally_tuned_model_validation"]
    );
    // A plan that only one side knows is no difference.
    assert_eq!(said(&record(&plain, "pal-a.elf"), &with(yaml)), [""; 0]);
}

#[test]
fn records_survive_their_json_and_are_found_in_files() {
    let plain = text("plain.manifest.sgx");
    let plan = Plan::parse(include_str!("../../templates/breast_cancer/plan.yaml")).unwrap();
    let mut one = record(&plain, "pal-a.elf").with_plan(&plan);
    one.signer = Some(Digest([7; 32]));
    one.role = Some("aggregator".into());
    assert_eq!(EnclaveRecord::from_json(&one.to_json()).unwrap(), one);
    let dir = crate::files::tests::scratch("sgx-records");
    let load = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap();
        EnclaveRecord::load(&dir.join(name))
    };
    assert_eq!(load("one", &one.to_json().to_string()).unwrap(), [one.clone()]);
    let many = serde_json::json!({"version": 1, "enclaves": [one.to_json(), one.to_json()]});
    assert_eq!(load("many", &many.to_string()).unwrap().len(), 2);
    let manifest = load("m", &plain).unwrap();
    assert_eq!((manifest[0].measurement, manifest[0].manifest.as_str()), (None, plain.as_str()));
    assert_eq!(load("m2", "[sgx]\nmax_threads = 1\n").unwrap().len(), 1);
    for (text, error) in [
        ("{}", "manifest is missing"),
        ("{\"manifest\": 1}", "manifest is not a text"),
        ("{\"manifest\": \"\", \"mrenclave\": \"00\"}", "mrenclave is not 64 hexadecimal digits"),
        ("{\"enclaves\": []}", "the list of enclaves is empty"),
        ("{\"manifest\": ", "EOF"),
    ] {
        let failure = load("bad", text).unwrap_err();
        assert!(failure.error.contains(error), "{text}: {}", failure.error);
    }
}
