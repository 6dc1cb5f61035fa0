//! Where volumes without a name lie; which one a replica gets is decided in `engine::anonymous`.

use crate::layout::Layout;
use engine::anonymous::{is_one_off, name};
use model::{ReplicaId, StackId};
use std::path::PathBuf;

/// The folder of a replica's volume without a name at `target`, the `number`th of its template.
pub(crate) fn folder(
    layout: &Layout,
    stack: &StackId,
    id: &ReplicaId,
    place: u32,
    (number, target): (usize, &str),
) -> PathBuf {
    match is_one_off(id) {
        true => layout.passing(stack, id).join(number.to_string()),
        false => layout.volume(stack, &name(&id.service, place, target)),
    }
}
