//! Every scenario on core, on the running proxy where `TOLLGATE_BIN` names its binary, and on the Worker where
//! `TOLLGATE_WORKER` names its folder and `TOLLGATE_WORKERD` the runtime (`tests/run scenarios` and `tests/run edge`
//! build them and set these).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use tollgate_tests::scenario::{self, Case, Cloudflare};

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
