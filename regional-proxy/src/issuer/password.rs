//! Passwords: Argon2id (RFC 9106), computed beside the data path and never many at once.

use std::sync::Arc;
use std::thread;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

/// KiB that verifying one password may take, so that a mistyped cost cannot take the memory of the data path.
const MEMORY_KIB_MAX: u32 = 256 << 10;
/// Passes over that memory.
const PASSES_MAX: u32 = 64;
/// Logins that wait for their turn; more are told to come back.
const WAITING_MAX: usize = 64;
/// One thread in this many may verify passwords, and at least one: a login costs as much as thousands of requests.
const THREADS_TO_ONE: usize = 4;
/// Bytes of a password that `hash` takes; more would not fit a login's body.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Why a PHC string cannot be used, or a password cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("it is not a PHC string")]
    NotPhc,
    #[error("it is not Argon2id")]
    NotArgon2id,
    #[error("its version, salt, hash or parameters are missing or out of range")]
    Parameters,
    #[error("it takes more than {MEMORY_KIB_MAX} KiB or {PASSES_MAX} passes to verify")]
    TooCostly,
    #[error("the password is empty")]
    Empty,
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    #[error("the password could not be hashed")]
    Hashing,
}

/// The Argon2id hash of a password with a new salt, as a PHC string for `password_hash`.
pub fn hash(password: &[u8]) -> Result<String, PasswordError> {
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::TooLong);
    }
    Argon2::default().hash_password(password).map(|hash| hash.to_string()).map_err(|_| PasswordError::Hashing)
}

/// A PHC string that verifies.
#[derive(Clone)]
pub(super) struct Hash {
    phc: Arc<PasswordHash>,
    /// KiB times passes.
    pub(super) cost: u64,
}

impl Hash {
    pub(super) fn parse(phc: &str) -> Result<Hash, PasswordError> {
        let phc = PasswordHash::new(phc).map_err(|_| PasswordError::NotPhc)?;
        if phc.algorithm != argon2::ARGON2ID_IDENT {
            return Err(PasswordError::NotArgon2id);
        }
        let params = Params::try_from(&phc).map_err(|_| PasswordError::Parameters)?;
        let version = phc.version.unwrap_or(argon2::Version::default().into());
        if argon2::Version::try_from(version).is_err() || phc.salt.is_none() || phc.hash.is_none() {
            return Err(PasswordError::Parameters);
        }
        if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
            return Err(PasswordError::TooCostly);
        }
        let cost = u64::from(params.m_cost()) * u64::from(params.t_cost());
        Ok(Hash { phc: Arc::new(phc), cost })
    }
}

/// Where passwords are verified: a few at once, some waiting, no more.
pub(super) struct Verifying {
    /// Of those that run or wait.
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// A place among those that run or wait.
pub(super) struct Place {
    place: OwnedSemaphorePermit,
    running: Arc<Semaphore>,
}

impl Verifying {
    pub(super) fn new() -> Verifying {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Verifying::with_bounds((threads / THREADS_TO_ONE).max(1), WAITING_MAX)
    }

    pub(super) fn with_bounds(running: usize, waiting: usize) -> Verifying {
        Verifying {
            places: Arc::new(Semaphore::new(running + waiting)),
            running: Arc::new(Semaphore::new(running)),
        }
    }

    /// `None` while all are taken.
    pub(super) fn place(&self) -> Option<Place> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(Place { place, running: self.running.clone() })
    }
}

impl Place {
    /// Whether the password has this hash. It goes on when nobody waits for the answer any more, and keeps its place
    /// until it is done, or clients that leave would undo the bound.
    pub(super) async fn verify(self, password: String, hash: Hash) -> bool {
        let Ok(turn) = self.running.acquire_owned().await else { return false };
        let place = self.place;
        let verified = spawn_blocking(move || {
            let _held = (place, turn);
            Argon2::default().verify_password(password.as_bytes(), &*hash.phc).is_ok()
        });
        verified.await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The password `correct horse` at the least cost there is.
    const CHEAP: &str = "$argon2id$v=19$m=8,t=1,p=1$";

    fn cheap() -> String {
        let argon2 = Argon2::from(Params::new(8, 1, 1, None).unwrap());
        argon2.hash_password(b"correct horse").unwrap().to_string()
    }

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_alone() {
        let phc = hash("pässword".as_bytes()).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        let verifying = Verifying::new();
        for (password, expected) in [("pässword", true), ("passwort", false), ("", false)] {
            let hash = Hash::parse(&phc).unwrap();
            let verified = verifying.place().unwrap().verify(password.to_owned(), hash).await;
            assert_eq!(verified, expected, "{password}");
        }
    }

    #[test]
    fn two_hashes_of_a_password_have_two_salts() {
        assert_ne!(hash(b"password").unwrap(), hash(b"password").unwrap());
    }

    #[test]
    fn the_hash_of_another_implementation_is_read() {
        // The reference implementation's, of RFC 9106's authors: `echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1`.
        let phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let parsed = Hash::parse(phc).unwrap();
        assert!(Argon2::default().verify_password(b"password", &*parsed.phc).is_ok());
        assert!(Argon2::default().verify_password(b"Password", &*parsed.phc).is_err());
    }

    #[test]
    fn what_cannot_be_verified_is_refused_with_the_reason() {
        let salt_and_hash = "c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let reason = |phc: &str| Hash::parse(phc).err().map(|error| error.to_string());
        for (phc, expected) in [
            (format!("{CHEAP}{salt_and_hash}"), None),
            ("password".to_owned(), Some(PasswordError::NotPhc)),
            (format!("$argon2id$v=19$m=8,t=1,p=1${salt_and_hash}$more"), Some(PasswordError::NotPhc)),
            (format!("$argon2i$v=19$m=8,t=1,p=1${salt_and_hash}"), Some(PasswordError::NotArgon2id)),
            (format!("$argon2id$v=20$m=8,t=1,p=1${salt_and_hash}"), Some(PasswordError::Parameters)),
            (format!("$argon2id$v=19$m=1,t=1,p=1${salt_and_hash}"), Some(PasswordError::Parameters)),
            (format!("{CHEAP}c29tZXNhbHRzb21lc2FsdA"), Some(PasswordError::Parameters)),
            (format!("$argon2id$v=19$m=262145,t=1,p=1${salt_and_hash}"), Some(PasswordError::TooCostly)),
            (format!("$argon2id$v=19$m=8,t=65,p=1${salt_and_hash}"), Some(PasswordError::TooCostly)),
        ] {
            assert_eq!(reason(&phc), expected.map(|error| error.to_string()), "{phc}");
        }
    }

    #[test]
    fn no_password_and_one_that_no_login_could_carry_are_not_hashed() {
        assert!(matches!(hash(b""), Err(PasswordError::Empty)));
        assert!(matches!(hash(&[b'x'; PASSWORD_BYTES_MAX + 1]), Err(PasswordError::TooLong)));
    }

    #[tokio::test]
    async fn a_place_is_kept_until_the_work_is_done() {
        let verifying = Verifying::with_bounds(1, 1);
        let running = verifying.place().unwrap();
        let turn = verifying.running.clone().acquire_owned().await.unwrap();
        let waiting = verifying.place().unwrap();
        assert!(verifying.place().is_none());
        let left = tokio::spawn(waiting.verify("correct horse".to_owned(), Hash::parse(&cheap()).unwrap()));
        tokio::task::yield_now().await;
        assert!(verifying.place().is_none());
        drop(turn);
        assert!(left.await.unwrap());
        assert!(verifying.place().is_some());
        drop(running);
    }
}
