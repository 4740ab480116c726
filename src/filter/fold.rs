//! Text as the filter reads it, and the way back to the text as it came.

use std::ops::Range;

use unicode_normalization::char::{canonical_combining_class, compose, decompose_compatible};

use crate::id::is_zero_width;

/// Text in compatibility composition (NFKC), case folded, without what cannot be seen and without loose marks.
pub(super) struct Folded {
    text: String,
    /// One for each character of `text`.
    origins: Vec<Origin>,
}

/// A folded character's place in the folded text, and what it came from in the original.
struct Origin {
    at: usize,
    from: Range<usize>,
}

impl Folded {
    pub(super) fn of(original: &str) -> Self {
        let mut composer = Composer::with_capacity(original.len());
        for (start, c) in original.char_indices() {
            let from = start..start + c.len_utf8();
            if stands_alone(c) {
                if !is_unseen_control(c) {
                    composer.push_starter(c.to_ascii_lowercase(), from);
                }
            } else if !is_zero_width(c) && !is_unseen_control(c) {
                decompose_compatible(c, |part| fold_case(part, |folded| composer.push(folded, from.clone())));
            }
        }
        composer.finish()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// What the folded text at `hit` came from.
    pub(super) fn original(&self, hit: Range<usize>) -> Range<usize> {
        let first = self.origins.partition_point(|origin| origin.at < hit.start);
        let hit = self.origins[first..].iter().take_while(|origin| origin.at < hit.end).map(|origin| &origin.from);
        // Marks are put into an order, so the first character's origin need not be the first one.
        let (start, end) = hit.fold((usize::MAX, 0), |(start, end), from| (start.min(from.start), end.max(from.end)));
        start.min(end)..end
    }
}

/// Characters that neither decompose nor join the one before, and of which only ASCII has case: ASCII and Chinese
/// characters. A shortcut, since most text is of these.
fn stands_alone(c: char) -> bool {
    c.is_ascii() || matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

/// Controls show nothing either, but for those that part lines and columns.
fn is_unseen_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r')
}

/// Unicode's full case folding, but for a few letters of languages that are no longer written.
fn fold_case(c: char, mut take: impl FnMut(char)) {
    match c {
        // Its upper case is `I`, which would make it an `i`.
        '\u{131}' => take(c),
        _ if c.is_ascii() => take(c.to_ascii_lowercase()),
        // By way of upper case, so that `ß` becomes `ss` and both small sigmas are one.
        _ => c.to_uppercase().flat_map(char::to_lowercase).map(unify_sigma).for_each(take),
    }
}

/// The lower case of a capital sigma never is the final one; a small one that has no capital in the text may be.
fn unify_sigma(c: char) -> char {
    if c == '\u{3c2}' { '\u{3c3}' } else { c }
}

/// Marks that are put over letters of any script; where they make no letter with what they stand on, they are decoration.
pub(super) fn is_loose_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// Canonical ordering and composition (Unicode standard, 3.11), with the origin of every character carried along.
struct Composer {
    done: Vec<(char, Range<usize>)>,
    /// Where in `done` the last character stands that marks can be put on.
    starter: Option<usize>,
    /// Marks since then: class, mark, origin.
    marks: Vec<(u8, char, Range<usize>)>,
}

impl Composer {
    fn with_capacity(bytes: usize) -> Self {
        Self { done: Vec::with_capacity(bytes), starter: None, marks: Vec::new() }
    }

    fn push(&mut self, c: char, from: Range<usize>) {
        match if stands_alone(c) { 0 } else { canonical_combining_class(c) } {
            0 => self.push_starter(c, from),
            class => self.marks.push((class, c, from)),
        }
    }

    fn push_starter(&mut self, c: char, from: Range<usize>) {
        self.place_marks();
        let adjacent = self.starter.is_some_and(|at| at + 1 == self.done.len());
        if adjacent && !stands_alone(c) && self.join(c, &from) {
            return;
        }
        // Enclosing marks are none by class, yet stand on the letter before.
        if is_loose_mark(c) {
            self.widen(&from);
            return;
        }
        self.starter = Some(self.done.len());
        self.done.push((c, from));
    }

    /// Puts the waiting marks on the starter, or behind it, or drops them.
    fn place_marks(&mut self) {
        if self.marks.is_empty() {
            return;
        }
        let mut marks = std::mem::take(&mut self.marks);
        marks.sort_by_key(|&(class, ..)| class);
        let mut last_kept = 0;
        for (class, mark, from) in marks.drain(..) {
            if class != last_kept && self.join(mark, &from) {
                continue;
            }
            if is_loose_mark(mark) {
                self.widen(&from);
            } else {
                self.done.push((mark, from));
                last_kept = class;
            }
        }
        self.marks = marks;
    }

    /// Makes one character of the starter and `c`, where Unicode has one.
    ///
    /// Marks that are kept may stand between the two; they go where these go, or masking a mark would part the letter.
    fn join(&mut self, c: char, from: &Range<usize>) -> bool {
        let Some(run) = self.starter.map(|at| &mut self.done[at..]) else { return false };
        let Some(composed) = run.first().and_then(|&(starter, _)| compose(starter, c)) else { return false };
        let whole =
            run.iter().fold(from.clone(), |whole, (_, from)| whole.start.min(from.start)..whole.end.max(from.end));
        run.iter_mut().for_each(|(_, from)| *from = whole.clone());
        run[0].0 = composed;
        true
    }

    /// Lets what is dropped belong to the last character, so that it goes where that goes.
    fn widen(&mut self, from: &Range<usize>) {
        if let Some((_, origin)) = self.done.last_mut() {
            *origin = origin.start.min(from.start)..origin.end.max(from.end);
        }
    }

    fn finish(mut self) -> Folded {
        self.place_marks();
        let mut text = String::with_capacity(self.done.len());
        let mut origins = Vec::with_capacity(self.done.len());
        for (c, from) in self.done {
            origins.push(Origin { at: text.len(), from });
            text.push(c);
        }
        Folded { text, origins }
    }
}
