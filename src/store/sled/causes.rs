//! What an error of the system means for the store: what comes back by itself, and what is lost.

use std::io;
use std::path::Path;

use crate::store::StoreError;

/// Too many open files: in this process, in the system. `std` has no stable kind for them.
const NO_HANDLE: &[i32] = if cfg!(windows) { &[4] } else { &[24, 23] };
/// Memory or threads, where `std` names no kind.
const NO_RESOURCES: &[i32] = if cfg!(windows) { &[14, 1450, 1455] } else { &[] };
/// The device failed.
const DEVICE: &[i32] = if cfg!(windows) { &[23, 1117] } else { &[5] };

/// What an error of the system means, where it is not a write or a sync that failed.
pub(super) fn system_error(folder: &Path, error: &io::Error) -> StoreError {
    use io::ErrorKind::{
        FileTooLarge, Interrupted, OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        WouldBlock,
    };
    let is_one_of = |codes: &[i32]| code(error).is_some_and(|code| codes.contains(&code));
    match error.kind() {
        StorageFull | FileTooLarge | QuotaExceeded => StoreError::Full,
        PermissionDenied | ReadOnlyFilesystem => {
            StoreError::ReadOnly { path: folder.to_owned(), reason: error.to_string() }
        }
        Interrupted | OutOfMemory | WouldBlock => StoreError::Exhausted(error.to_string()),
        _ if is_one_of(NO_HANDLE) || is_one_of(NO_RESOURCES) => StoreError::Exhausted(error.to_string()),
        _ => StoreError::Io(error.to_string()),
    }
}

/// What a failed write means: as any error, but the device failing is for good.
pub(super) fn write_error(folder: &Path, error: &io::Error) -> StoreError {
    match system_error(folder, error) {
        StoreError::Io(text) if code(error).is_some_and(|code| DEVICE.contains(&code)) => StoreError::Broken(text),
        cause => cause,
    }
}

/// What a failed sync means: the system may have dropped what it could not write, and call it clean the next time.
pub(super) fn sync_error(folder: &Path, error: &io::Error) -> StoreError {
    match system_error(folder, error) {
        cause @ StoreError::Exhausted(_) => cause,
        _ => StoreError::Broken(format!("a sync failed: {error}")),
    }
}

/// The system's error that the text of a panic shows, as an `unwrap` on one does.
pub(super) fn shown_error(text: &str) -> Option<io::Error> {
    shown_code(text).map(io::Error::from_raw_os_error)
}

/// The system's own number. sled copies errors by their texts.
fn code(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| shown_code(&error.to_string()))
}

fn shown_code(text: &str) -> Option<i32> {
    let (_, rest) = text.split_once("Os { code: ")?;
    rest.split(',').next()?.parse().ok()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// Handles that ran out for a moment made the store refuse for good.
    #[test]
    fn what_comes_back_is_told_from_what_is_lost() {
        let folder = Path::new("folder");
        let raw = io::Error::from_raw_os_error;
        // The error as sled hands it on: the kind, and a text.
        let copied = |code| io::Error::new(raw(code).kind(), format!("{:?}", raw(code)));
        let quota = if cfg!(target_os = "linux") { 122 } else { 69 };
        for error in [4, 12, 23, 24].into_iter().flat_map(|code| [raw(code), copied(code)]) {
            for meaning in [system_error, write_error, sync_error] {
                assert!(matches!(meaning(folder, &error), StoreError::Exhausted(_)), "{error}");
            }
        }
        for error in [28, quota].into_iter().flat_map(|code| [raw(code), copied(code)]) {
            assert_eq!(write_error(folder, &error), StoreError::Full);
            assert!(matches!(sync_error(folder, &error), StoreError::Broken(_)), "a failed sync is not repeated");
        }
        for error in [raw(5), copied(5)] {
            assert!(matches!(system_error(folder, &error), StoreError::Io(_)), "a read takes nothing away");
            assert!(matches!(write_error(folder, &error), StoreError::Broken(_)));
            assert!(matches!(sync_error(folder, &error), StoreError::Broken(_)));
        }
    }

    #[test]
    fn an_error_is_found_in_the_text_of_a_panic() {
        let text = format!("called `Result::unwrap()` on an `Err` value: Io({:?})", io::Error::from_raw_os_error(24));
        assert_eq!(shown_error(&text).and_then(|error| error.raw_os_error()), Some(24));
        assert!(shown_error("index out of bounds: the len is 3 but the index is 7").is_none());
    }
}
