//! The laws of what is wanted of hosts: none goes back to an earlier word, and that it keeps to one is said when
//! it does.

use super::Witness;

impl Witness {
    /// A host has this number of what is wanted on its disk.
    pub(in super::super) fn kept(&mut self, host: usize, generation: u64) {
        let known = self.kept.insert(host, generation).unwrap_or_default();
        if known > generation {
            self.breaks(|| {
                format!(
                    "h{:02} keeps to {generation} after it kept to {known}",
                    host + 1
                )
            });
        }
    }

    /// A host says that it keeps to what has this number.
    pub(in super::super) fn obeys(&mut self, host: usize, generation: u64) {
        let kept = self.kept.get(&host).copied().unwrap_or_default();
        if generation > kept {
            self.breaks(|| {
                format!(
                    "h{:02} says that it keeps to {generation}, and keeps to {kept}",
                    host + 1
                )
            });
        }
    }

    /// Somebody is told that a host keeps to what has this number, or is shown that.
    pub(in super::super) fn told_obeyed(&mut self, host: usize, generation: u64) {
        let kept = self.kept.get(&host).copied().unwrap_or_default();
        if generation > kept {
            self.breaks(|| {
                format!(
                    "h{:02} is said to keep to {generation}, and keeps to {kept}",
                    host + 1
                )
            });
        }
    }
}
