//! Many collaborators in one process, for `tests/memory.rs`: `crowd ROOT FOLDER NAME…` sends an update of
//! each NAME, whose workspace is FOLDER/NAME, to a round that begins at the model with this root. See
//! [`fl_tests::crowd`].

use std::{path::Path, process::ExitCode, sync::Arc};

use fl_engine::{Digest, Name};
use fl_tests::crowd::{Crowd, Failure};
use tokio::{runtime::Builder, task::JoinSet};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [root, folder, names @ ..] = args.as_slice() else {
        eprintln!("usage: crowd ROOT FOLDER NAME…");
        return ExitCode::from(2);
    };
    match run(root, Path::new(folder), names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &str, folder: &Path, names: &[String]) -> Result<(), Failure> {
    let first = names.first().ok_or("no names")?;
    let crowd = Arc::new(Crowd::open(&folder.join(first), root.parse::<Digest>()?)?);
    let updates: Vec<_> = (0..names.len()).map(|who| crowd.update(who)).collect();
    Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let mut sending = JoinSet::new();
        for (update, name) in updates.into_iter().zip(names) {
            let (crowd, name, site) = (Arc::clone(&crowd), name.parse::<Name>()?, folder.join(name));
            sending.spawn(async move {
                let sent = crowd.send(update, &name, &site).await;
                sent.map_err(|failure| -> Failure { format!("{name}: {failure}").into() })
            });
        }
        while let Some(sent) = sending.join_next().await {
            sent??;
        }
        Ok(())
    })
}
