//! Every scenario on core, and on the running proxy where `TOLLGATE_BIN` names its binary (`tests/run scenarios`
//! builds one and sets it).

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use tollgate_tests::scenario::{self, Case};

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
