//! How many connections the process may have: each is a socket, and the system counts them together with open files.

/// Connections where nobody asks for another number: two threads each are fine for so many.
const CONNECTIONS_DEFAULT: usize = 2_000;
/// Handles that are kept for everything else: the store, also while it moves to a new folder (some twenty), the listener,
/// the terminal, and a client that is about to be told that there is no room.
const RESERVED: usize = 64;

/// Settles how many connections there may be at once, and asks the system for as many handles.
///
/// # Errors
/// In words, when the system gives fewer than are needed.
pub(crate) fn connections_max(asked: Option<usize>) -> Result<usize, String> {
    let wanted = asked.unwrap_or(CONNECTIONS_DEFAULT);
    // Up to the hard limit a process may take what it needs. Where it cannot be asked, the default is as good as any.
    let handles = wanted.saturating_add(RESERVED) as u64;
    let handles = rlimit::increase_nofile_limit(handles).unwrap_or(handles);
    let room = usize::try_from(handles).unwrap_or(usize::MAX).saturating_sub(RESERVED);
    match asked {
        Some(asked) if asked > room => Err(format!(
            "--connections-max {asked} needs {} file handles, and this process may have {handles} (see ulimit -Hn)",
            asked.saturating_add(RESERVED)
        )),
        None if room == 0 => {
            Err(format!("{handles} file handles are too few, {RESERVED} go to the store (see ulimit -Hn)"))
        }
        _ => Ok(wanted.min(room)),
    }
}
