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
    /// Adds a value of the path at index `place`.
    pub fn add(&mut self, place: usize, hash: u32) {
        if self.has & (1 << place) == 0 {
            (self.first[place], self.has) = (hash, self.has | 1 << place);
        } else {
            self.more.push((place as u8, hash));
        }
    }

    /// Removes duplicates, after all values are added.
    pub fn close(&mut self) {
        if !self.more.is_empty() {
            self.more.retain(|&(place, hash)| self.first[usize::from(place)] != hash);
            self.more.sort_unstable();
            self.more.dedup();
        }
    }

    /// All hashes, each with the index of its path.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u32)> {
        let first = self.first.iter().copied().enumerate().filter(|(place, _)| self.has & (1 << place) != 0);
        first.chain(self.more.iter().map(|&(place, hash)| (usize::from(place), hash)))
    }

    /// Whether this is one of them.
    pub fn has(&self, place: usize, hash: u32) -> bool {
        (self.has & (1 << place) != 0 && self.first[place] == hash)
            || self.more.binary_search(&(place as u8, hash)).is_ok()
    }

    /// The form that an evicted body stores: only hashes if every path has one value, or else pairs of path index and
    /// hash.
    pub fn kept(&self, paths: usize, has_arrays: bool) -> Vec<u32> {
        if has_arrays {
            return self.iter().flat_map(|(place, hash)| [place as u32, hash]).collect();
        }
        self.first[..paths].to_vec()
    }

    /// Reads the form that an evicted body stores.
    pub fn of_kept(mut kept: impl Iterator<Item = u32>, has_arrays: bool) -> Self {
        let mut hashes = Self::default();
        if !has_arrays {
            kept.enumerate().for_each(|(place, hash)| hashes.add(place, hash));
            return hashes;
        }
        while let (Some(place), Some(hash)) = (kept.next(), kept.next()) {
            hashes.add(place as usize, hash);
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
        for (place, hash) in [(0, 7), (2, 9), (2, 8), (2, 9), (2, 8), (7, 1)] {
            hashes.add(place, hash);
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
