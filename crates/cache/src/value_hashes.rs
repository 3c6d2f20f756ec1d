//! The searchable values of an order: a hash of each value at each path of `SEARCH`.

/// Maximum number of members in `SEARCH`.
pub const MAX_SEARCH_MEMBERS: usize = 8;

/// Most paths have one value; a path into an array has one for each distinct element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueHashes {
    /// The first value of each path that has one.
    first: [u32; MAX_SEARCH_MEMBERS],
    /// A bit for each path that has a value.
    has: u8,
    /// Further values: the index of the path, and the hash.
    more: Vec<(u8, u32)>,
}

impl ValueHashes {
    /// Adds a value of the path at index `path_index`.
    pub fn add(&mut self, path_index: usize, hash: u32) {
        if self.has & (1 << path_index) == 0 {
            (self.first[path_index], self.has) = (hash, self.has | 1 << path_index);
        } else {
            self.more.push((path_index as u8, hash));
        }
    }

    /// Removes duplicates, after all values are added.
    pub fn close(&mut self) {
        if !self.more.is_empty() {
            self.more.retain(|&(path_index, hash)| self.first[usize::from(path_index)] != hash);
            self.more.sort_unstable();
            self.more.dedup();
        }
    }

    /// All hashes, each with the index of its path.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u32)> {
        let first = self
            .first
            .iter()
            .copied()
            .enumerate()
            .filter(|(path_index, _)| self.has & (1 << path_index) != 0);
        first.chain(self.more.iter().map(|&(path_index, hash)| (usize::from(path_index), hash)))
    }

    /// Whether this is one of them.
    pub fn has(&self, path_index: usize, hash: u32) -> bool {
        (self.has & (1 << path_index) != 0 && self.first[path_index] == hash)
            || self.more.binary_search(&(path_index as u8, hash)).is_ok()
    }

    /// The form that an evicted body stores: only hashes if every path has one value, or else pairs of path index and
    /// hash.
    pub fn kept(&self, paths: usize, has_arrays: bool) -> Vec<u32> {
        if has_arrays {
            return self.iter().flat_map(|(path_index, hash)| [path_index as u32, hash]).collect();
        }
        self.first[..paths].to_vec()
    }

    /// Reads the form that an evicted body stores.
    pub fn of_kept(mut kept: impl Iterator<Item = u32>, has_arrays: bool) -> Self {
        let mut hashes = Self::default();
        if !has_arrays {
            kept.enumerate().for_each(|(path_index, hash)| hashes.add(path_index, hash));
            return hashes;
        }
        while let (Some(path_index), Some(hash)) = (kept.next(), kept.next()) {
            hashes.add(path_index as usize, hash);
        }
        hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_unique_and_an_evicted_body_keeps_all() {
        let mut hashes = ValueHashes::default();
        for (path_index, hash) in [(0, 7), (2, 9), (2, 8), (2, 9), (2, 8), (7, 1)] {
            hashes.add(path_index, hash);
        }
        hashes.close();
        assert_eq!(hashes.iter().collect::<Vec<_>>(), [(0, 7), (2, 9), (7, 1), (2, 8)]);
        assert!(hashes.has(2, 8) && hashes.has(2, 9) && !hashes.has(1, 0) && !hashes.has(0, 8));
        assert_eq!(ValueHashes::of_kept(hashes.kept(8, true).into_iter(), true), hashes);
        let mut plain = ValueHashes::default();
        plain.add(0, 7);
        plain.add(1, 8);
        assert_eq!(plain.kept(2, false), [7, 8]);
        assert_eq!(ValueHashes::of_kept(plain.kept(2, false).into_iter(), false), plain);
    }
}
