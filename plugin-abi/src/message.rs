//! Writing messages: most are so short that they need nothing of the heap.

use crate::raw::{Field, Tag};

/// A message being written: on the stack as long as it has at most `N` fields, which is nearly always.
pub(crate) struct Message<'a, const N: usize> {
    few: [Field<'a>; N],
    count: usize,
    many: Vec<Field<'a>>,
}

impl<'a, const N: usize> Message<'a, N> {
    /// One without fields.
    pub(crate) fn new() -> Self {
        Self { few: [Field::new(Tag::OUTCOME, &[]); N], count: 0, many: Vec::new() }
    }

    /// Adds a field.
    pub(crate) fn push(&mut self, field: Field<'a>) {
        if let Some(place) = self.few.get_mut(self.count) {
            *place = field;
        } else {
            if self.count == N {
                self.many.extend(self.few);
            }
            self.many.push(field);
        }
        self.count += 1;
    }

    /// What it says.
    pub(crate) fn fields(&self) -> &[Field<'a>] {
        self.few.get(..self.count).unwrap_or(&self.many)
    }
}

impl<'a, const N: usize> Extend<Field<'a>> for Message<'a, N> {
    fn extend<I: IntoIterator<Item = Field<'a>>>(&mut self, fields: I) {
        fields.into_iter().for_each(|field| self.push(field));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: [Tag; 6] = [Tag::EVENT, Tag::URL, Tag::RAW, Tag::PATH, Tag::QUERY, Tag::BODY];

    #[test]
    fn a_message_keeps_all_fields_in_their_order() {
        for count in 0..=TAGS.len() {
            let mut message = Message::<'_, 3>::new();
            message.extend(TAGS[..count].iter().map(|tag| Field::new(*tag, &[])));
            assert_eq!(message.fields().iter().map(Field::tag).collect::<Vec<_>>(), TAGS[..count]);
        }
    }
}
