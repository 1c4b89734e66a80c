//! The README's table of which platform plays how many scenarios, and why not the others.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};

use super::Case;

const BEGIN: &str = "<!-- parity: `tests/run edge` writes this table -->\n";
const END: &str = "<!-- end of parity -->";

const PLATFORMS: [(&str, &str); 4] =
    [("core", "core"), ("proxy", "regional proxy"), ("cloudflare", "Cloudflare Workers"), ("spin", "Spin")];

/// `readme` with the table that `cases` make.
pub fn rewritten(readme: &str, cases: &[Case]) -> Result<String> {
    let (before, rest) = readme.split_once(BEGIN).context("the README has no place for the table")?;
    let (_, after) = rest.split_once(END).context("the README's table has no end")?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", table(cases)))
}

fn table(cases: &[Case]) -> String {
    let mut table = String::from("| platform | plays | cannot | why |\n|---|---|---|---|\n");
    for (platform, name) in PLATFORMS {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for reason in cases.iter().filter_map(|case| case.skip.get(platform)) {
            *reasons.entry(reason).or_default() += 1;
        }
        let cannot: usize = reasons.values().sum();
        let why: Vec<_> = reasons.iter().map(|(reason, times)| format!("{times}: {reason}")).collect();
        // Writing into a string cannot fail.
        let _ = writeln!(table, "| {name} | {} | {cannot} | {} |", cases.len() - cannot, why.join("; "));
    }
    table
}
