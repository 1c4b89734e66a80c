//! Every scenario on core, on the running proxy where `TOLLGATE_BIN` names its binary, on the Worker where
//! `TOLLGATE_WORKER` names its folder and `TOLLGATE_WORKERD` the runtime, and on the component where
//! `TOLLGATE_COMPONENT` and `TOLLGATE_WASMTIME` name both (`tests/run scenarios` and `tests/run edge` build them and set
//! these).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tollgate_tests::scenario::{self, Case, Cloudflare, Spin};

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::from_args();
    let cases = scenario::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"))?;
    let proxy = std::env::var_os("TOLLGATE_BIN").map(PathBuf::from);
    let mut trials: Vec<Trial> =
        cases.iter().map(|case| trial("core", case, |case| scenario::play_on_core(&case))).collect();
    if let Some(binary) = proxy {
        trials.extend(cases.iter().map(|case| {
            let binary = binary.clone();
            trial("proxy", case, move |case| scenario::play_on_proxy(&case, &binary))
        }));
    }
    if let (Some(worker), Some(workerd)) =
        (std::env::var_os("TOLLGATE_WORKER"), std::env::var_os("TOLLGATE_WORKERD"))
    {
        let played = |case: &Case| !case.skip.contains_key("cloudflare");
        let played: Vec<Case> = cases.iter().filter(|case| played(case)).cloned().collect();
        let stage = Arc::new(Cloudflare::set(&played, Path::new(&worker), Path::new(&workerd))?);
        trials.extend(cases.iter().map(|case| {
            let stage = stage.clone();
            trial("cloudflare", case, move |case| stage.play(&case))
        }));
    }
    if let (Some(component), Some(wasmtime)) =
        (std::env::var_os("TOLLGATE_COMPONENT"), std::env::var_os("TOLLGATE_WASMTIME"))
    {
        let stage = Arc::new(Spin::set(Path::new(&component), Path::new(&wasmtime))?);
        trials.extend(cases.iter().map(|case| {
            let stage = stage.clone();
            trial("spin", case, move |case| stage.play(&case))
        }));
    }
    let all = cases.clone();
    trials.push(Trial::test("parity: the README's table is what the scenarios say", move || {
        parity(&all).map_err(|error| Failed::from(format!("{error:#}")))
    }));
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(
    platform: &str,
    case: &Case,
    play: impl FnOnce(Case) -> anyhow::Result<()> + Send + 'static,
) -> Trial {
    let skipped = case.skip.contains_key(platform);
    let (name, case) = (format!("{platform}/{}", case.name), case.clone());
    let run = move || play(case).map_err(|error| Failed::from(format!("{error:#}")));
    Trial::test(name, run).with_ignored_flag(skipped)
}

/// `TOLLGATE_REWRITE` writes the table anew instead.
fn parity(cases: &[Case]) -> anyhow::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&file)?;
    let rewritten = scenario::parity::rewritten(&readme, cases)?;
    if std::env::var_os("TOLLGATE_REWRITE").is_some() {
        std::fs::write(&file, rewritten)?;
    } else {
        let hint = "the README's table of parity is stale; TOLLGATE_REWRITE=1 tests/run edge writes it anew";
        anyhow::ensure!(readme == rewritten, "{hint}");
    }
    Ok(())
}
