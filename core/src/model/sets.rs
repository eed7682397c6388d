//! Sets of nodes, rows, local gangs and CPUs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CpuIndex, GangSlot, NodeIndex, RowIndex};

macro_rules! word_set {
    ($(#[$meta:meta])* $name:ident($word:ty) of $element:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name($word);

        impl $name {
            /// The set with no element.
            pub const EMPTY: Self = Self(0);

            /// The set with the elements whose bits are one.
            #[must_use]
            pub const fn from_bits(bits: $word) -> Self {
                Self(bits)
            }

            /// The elements as bits.
            #[must_use]
            pub const fn bits(self) -> $word {
                self.0
            }

            /// Adds an element, which must be below the number of bits.
            pub fn insert(&mut self, element: $element) {
                assert!(u32::from(element.0) < <$word>::BITS, "element {element} is outside a set of {} bits", <$word>::BITS);
                self.0 |= 1 << element.0;
            }

            /// Removes an element.
            pub fn remove(&mut self, element: $element) {
                *self = self.difference([element].into_iter().collect());
            }

            /// True when the element is in the set.
            #[must_use]
            pub fn contains(self, element: $element) -> bool {
                u32::from(element.0) < <$word>::BITS && self.0 & (1 << element.0) != 0
            }

            /// The elements of either set.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The elements of both sets.
            #[must_use]
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// The elements of this set that are not in `other`.
            #[must_use]
            pub const fn difference(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// True when every element of this set is in `other`.
            #[must_use]
            pub const fn is_subset(self, other: Self) -> bool {
                self.0 & !other.0 == 0
            }

            /// Number of elements.
            #[must_use]
            pub const fn len(self) -> usize {
                self.0.count_ones() as usize
            }

            /// True when there is no element.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The elements, smallest first.
            pub fn iter(self) -> impl Iterator<Item = $element> {
                (0..<$word>::BITS as $inner).filter(move |index| self.0 & (1 << index) != 0).map($element)
            }
        }

        impl FromIterator<$element> for $name {
            fn from_iter<Elements: IntoIterator<Item = $element>>(elements: Elements) -> Self {
                let mut set = Self::EMPTY;
                for element in elements {
                    set.insert(element);
                }
                set
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_set().entries(self.iter().map(|element| element.0)).finish()
            }
        }
    };
}

word_set! {
    /// A set of nodes of one partition, below [`crate::limits::MEMBERS_MAX`].
    NodeSet(u64) of NodeIndex(u16)
}
word_set! {
    /// A set of rows, below [`crate::limits::ROWS_MAX`].
    RowSet(u16) of RowIndex(u8)
}
word_set! {
    /// A set of the gangs of one node, below [`crate::limits::GANGS_PER_NODE_MAX`].
    GangSlots(u64) of GangSlot(u8)
}

/// CPUs of one node, sorted, none twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct CpuSet(Vec<CpuIndex>);

impl CpuSet {
    /// The CPUs, smallest first.
    pub fn iter(&self) -> impl Iterator<Item = CpuIndex> + '_ {
        self.0.iter().copied()
    }

    /// Number of CPUs.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no CPU.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when the CPU is in the set.
    #[must_use]
    pub fn contains(&self, cpu: CpuIndex) -> bool {
        self.0.binary_search(&cpu).is_ok()
    }

    /// True when the sets share a CPU.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.iter().any(|cpu| other.contains(cpu))
    }
}

impl FromIterator<CpuIndex> for CpuSet {
    fn from_iter<Elements: IntoIterator<Item = CpuIndex>>(elements: Elements) -> Self {
        let mut cpus: Vec<_> = elements.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        Self(cpus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_sets_behave_as_sets() {
        let set: NodeSet = [NodeIndex(1), NodeIndex(63)].into_iter().collect();
        let mut smaller = set;
        smaller.remove(NodeIndex(63));
        assert_eq!(set.iter().collect::<Vec<_>>(), [NodeIndex(1), NodeIndex(63)]);
        assert_eq!(set.difference(smaller).iter().collect::<Vec<_>>(), [NodeIndex(63)]);
        assert!(smaller.is_subset(set) && !set.is_subset(smaller) && !smaller.contains(NodeIndex(64)));
    }

    #[test]
    fn cpu_sets_are_sorted_and_unique() {
        let set: CpuSet = [3, 1, 3].map(CpuIndex).into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [CpuIndex(1), CpuIndex(3)]);
        assert!(set.overlaps(&[CpuIndex(3)].into_iter().collect()) && !set.overlaps(&CpuSet::default()));
        assert!(!set.is_empty() && CpuSet::default().is_empty());
    }
}
