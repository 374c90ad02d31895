//! `fl-host demo` as a process: what it prints for programs, and that it leaves no process behind.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fl_tests::federation::program;
use serde_json::Value;

/// A demonstration in a fresh folder called `name`.
fn demo(name: &str, args: &[&str]) -> Child {
    let dir = std::env::temp_dir().join(format!("fl-demo-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let mut command = Command::new(program("fl-host"));
    command.args(["--json", "demo", "--dir"]).arg(dir).args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn pids(line: &Value) -> Vec<u64> {
    let pids = line["pids"].as_array().map(|pids| pids.iter().filter_map(Value::as_u64).collect());
    pids.unwrap_or_else(|| panic!("no pids in {line}"))
}

/// Whether the process runs. A process that has ended does not, even if its parent has not noticed yet.
fn runs(pid: u64) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("Z").starts_with('Z'))
}

#[test]
fn demonstration_prints_a_line_a_round_and_a_last_one_for_all() {
    for (link, links) in [("quic", "QUIC"), ("tcp", "TLS over TCP")] {
        let args = ["--collaborators", "1", "--rounds", "2", "--link", link];
        let out = demo(&format!("lines-{link}"), &args).wait_with_output().unwrap();
        let lines = String::from_utf8(out.stdout).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["round", "round", "demo"]);
        assert_eq!(
            (out.status.code(), &lines[2]["exit"], &lines[2]["rounds"]),
            (Some(0), &0.into(), &2.into())
        );
        assert_eq!(lines[2]["links"], links);
        assert_eq!(pids(&lines[2]).len(), 2);
        assert_eq!(String::from_utf8(out.stderr).unwrap(), "");
    }
}

/// A reduced U-Net learns masks. `--nocapture` shows what each round has reached.
#[test]
fn kvasir_is_learnt_in_less_than_three_minutes() {
    let started = Instant::now();
    let args = ["--template", "kvasir_unet"];
    let out = demo("kvasir", &args).wait_with_output().unwrap();
    let took = started.elapsed();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let lines = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let dice = |line: &Value| {
        let metrics = line["metrics"].as_array().unwrap().iter();
        let asked = |m: &&Value| m["task"] == "aggregated_model_validation" && m["metric"] == "dice";
        metrics
            .clone()
            .find(asked)
            .and_then(|m| m["value"].as_f64())
            .unwrap_or_else(|| panic!("no dice in {line}"))
    };
    let rounds: Vec<f64> = lines.iter().filter(|line| line["event"] == "round").map(dice).collect();
    let held_out = lines.last().unwrap()["metrics"]["dice"].as_f64().unwrap();
    println!("dice by round {rounds:.3?}, on held out pictures {held_out:.3}, in {took:.1?}");
    assert!(rounds.len() > 1 && held_out > rounds[0] + 0.2, "{rounds:?}, held out {held_out}");
    assert!(rounds.last() > Some(&(rounds[0] + 0.2)), "{rounds:?}");
    assert!(took < Duration::from_secs(180), "{took:?}");
    std::fs::remove_dir_all(Path::new(lines.last().unwrap()["dir"].as_str().unwrap())).unwrap();
}

#[test]
fn stopped_demonstration_says_so_and_leaves_no_process_behind() {
    for signal in ["-INT", "-TERM"] {
        let mut demo = demo(signal, &["--rounds", "1000000"]);
        let mut first = String::new();
        BufReader::new(demo.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let pids = pids(&serde_json::from_str(&first).unwrap());
        assert!(pids.len() == 4 && pids.iter().all(|pid| runs(*pid)), "{pids:?}");
        Command::new("kill").args([signal, &demo.id().to_string()]).status().unwrap();
        let asked = Instant::now();
        let mut said = String::new();
        demo.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(demo.wait().unwrap().code(), Some(14), "{said}");
        assert!(said.contains("the demonstration was stopped"), "{said}");
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        thread::sleep(Duration::from_millis(100));
        let left: Vec<_> = pids.iter().filter(|pid| runs(**pid)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn steps_of_a_demonstration_are_a_script_that_repeats_it_in_an_empty_folder() {
    let out = demo("steps", &["--collaborators", "2", "--rounds", "2"]).wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let dir = std::env::temp_dir().join(format!("fl-demo-{}-steps", std::process::id()));
    let empty = std::env::temp_dir().join(format!("fl-demo-{}-again", std::process::id()));
    let _ = std::fs::remove_dir_all(&empty);
    std::fs::create_dir(&empty).unwrap();
    let programs = program("fl-host").parent().unwrap().to_owned();
    let path = std::env::join_paths([programs.as_path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let again = Command::new("timeout")
        .args(["120", "sh"])
        .arg(dir.join("steps.txt"))
        .env("PATH", path)
        .current_dir(&empty)
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
    assert_eq!(again.status.code(), Some(0), "{said}");
    // The same plan, another CA: the same rounds.
    let history = |dir: &Path| {
        let text = std::fs::read_to_string(dir.join("aggregator/save/demo_history.jsonl")).unwrap();
        text.lines().count()
    };
    assert_eq!((history(&dir), history(&empty)), (2, 2), "{said}");
    assert!(said.contains("root: "), "{said}");
    for dir in [dir, empty] {
        std::fs::remove_dir_all(dir).unwrap();
    }
}
