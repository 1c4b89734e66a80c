//! The binary `tollgate`: reads its arguments, runs, drains.

mod allocator;

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use tollgate::policy::PolicyFile;
use tollgate::{demo, issuer, policy, process};
use tollgate_core::config::Target;

#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

/// Bytes of a line that are read for a password, of which fewer are taken.
const PASSWORD_READ_BYTES_MAX: u64 = 4 << 10;

/// One gateway policy, enforced the same at the edge and in your region.
///
/// Without a command it runs a demo: the gateway, its admin listener and three sample services in one process.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway with a configuration.
    Serve {
        /// The policy file (YAML).
        #[arg(long, env = "CONFIG_PATH")]
        config: PathBuf,
    },
    /// Validate a configuration without starting anything.
    Check {
        /// Where it is to be served; names, too, what is not done there. Default: by this program.
        #[arg(long)]
        target: Option<Edge>,
        /// The policy file (YAML).
        file: PathBuf,
    },
    /// Compile a configuration to the form that an edge adapter reads, and print it.
    ///
    /// The variables it names must be set, so that it can be validated; the bundle keeps the references only.
    Bundle {
        /// Refuses what is not done there. Default: for any edge.
        #[arg(long)]
        target: Option<Edge>,
        /// The policy file (YAML).
        file: PathBuf,
    },
    /// Print the JSON Schema of the policy file.
    Schema,
    /// Read a password from standard input and print its Argon2id hash, for `password_hash` of a login's user.
    HashPassword,
}

#[derive(Clone, Copy, ValueEnum)]
enum Edge {
    Cloudflare,
    Spin,
}

impl From<Edge> for Target {
    fn from(edge: Edge) -> Target {
        match edge {
            Edge::Cloudflare => Target::Cloudflare,
            Edge::Spin => Target::Spin,
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Each error names its cause itself.
            eprintln!("tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    // An environment may set CONFIG_PATH for a plain `tollgate`, as containers do.
    let from_environment =
        || std::env::var_os("CONFIG_PATH").map(|config| Command::Serve { config: config.into() });
    match arguments.command.or_else(from_environment) {
        None => demo::run(),
        Some(Command::Serve { config }) => process::run(PolicyFile::read(&config)?, Vec::new(), |_| {}),
        Some(Command::Check { target, file }) => check(&file, target),
        Some(Command::Bundle { target, file }) => {
            println!("{}", policy::bundle(&file, target.map_or(Target::Region, Target::from))?);
            Ok(())
        }
        Some(Command::Schema) => {
            println!("{:#}", tollgate_core::config::schema());
            Ok(())
        }
        Some(Command::HashPassword) => hash_password(),
    }
}

fn check(file: &Path, target: Option<Edge>) -> Result<()> {
    let loaded = match target {
        Some(edge) => policy::check(file, edge.into())?,
        None => {
            let policy = PolicyFile::read(file)?;
            policy.issuer(None)?;
            policy.loaded
        }
    };
    for warning in &loaded.warnings {
        eprintln!("{}:{warning}", file.display());
    }
    println!("{} is valid: {} services", file.display(), loaded.config.services.len());
    Ok(())
}

/// One line, or all there is: its line end is not part of the password.
fn hash_password() -> Result<()> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        eprintln!("The password, which is shown as you type it, then Enter:");
    }
    let mut password = String::new();
    stdin
        .lock()
        .take(PASSWORD_READ_BYTES_MAX)
        .read_line(&mut password)
        .context("cannot read the password")?;
    println!("{}", issuer::hash(password.trim_end_matches(['\r', '\n']).as_bytes())?);
    Ok(())
}
