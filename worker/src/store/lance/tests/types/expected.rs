//! What becomes of the generated columns in files of each version.

/// It keeps no nulls but those of variable length, and one dictionary for all files.
pub(super) const FIRST: &str = "\
read: 187\n\
refused: described blob, list of string view, struct of string view, whole struct of string \
view, list of binary view, struct of binary view, whole struct of binary view, list of \
described blob, struct of described blob, whole struct of described blob, fixed size list of \
struct of bool, map of bool, list of map of bool, map of struct of bool, fixed size list of \
struct of int32, map of int32, list of map of int32, map of struct of int32, fixed size list \
of string, fixed size list of struct of string, struct of fixed size list of string, list of \
fixed size list of string, map of string, list of map of string, map of struct of string, \
fixed size list of dictionary, fixed size list of struct of dictionary, struct of fixed size \
list of dictionary, list of fixed size list of dictionary, map of dictionary, list of map of \
dictionary, map of struct of dictionary, fixed size list of blob, fixed size list of struct of \
blob, struct of fixed size list of blob, list of fixed size list of blob, map of blob, list of \
map of blob, map of struct of blob, fixed size list of json, fixed size list of struct of \
json, struct of fixed size list of json, list of fixed size list of json, map of json, list of \
map of json, map of struct of json\n\
unreadable: dictionary, dictionary u8, dictionary of int64, list of dictionary, struct of \
dictionary, whole struct of dictionary, list of dictionary u8, struct of dictionary u8, whole \
struct of dictionary u8, list of dictionary of int64, struct of dictionary of int64, whole \
struct of dictionary of int64, list of blob, list of json, list of packed, list of whole \
struct of bool, list of whole struct of int32, list of whole struct of string, large list of \
dictionary, list of list of dictionary, list of struct of dictionary, struct of list of \
dictionary, struct of struct of dictionary, list of whole struct of dictionary, whole struct \
of list of dictionary, large list of blob, list of list of blob, struct of list of blob, list \
of whole struct of blob, whole struct of list of blob, large list of json, list of list of \
json, struct of list of json, list of whole struct of json, whole struct of list of json\n\
changed: 185\n\
failing: fixed size list of bool by direct Take, fixed size list of bool by Lance's Take, \
struct of fixed size list of bool by direct Take, struct of fixed size list of bool by Lance's \
Take\n\
";

pub(super) const V2_0: &str = "\
read: 154\n\
refused: described blob, struct of null, struct of bool, struct of int8, struct of int16, \
struct of int32, struct of int64, struct of uint8, struct of uint16, struct of uint32, struct \
of uint64, struct of float16, struct of float32, struct of float64, struct of decimal128, \
struct of decimal256, struct of date32, struct of date64, struct of time32 s, struct of time32 \
ms, struct of time64 us, struct of time64 ns, struct of timestamp s, struct of timestamp ms, \
struct of timestamp us, struct of timestamp ns, struct of duration s, struct of duration ms, \
struct of duration us, struct of duration ns, struct of string, struct of large string, list \
of string view, struct of string view, whole struct of string view, struct of binary, struct \
of large binary, list of binary view, struct of binary view, whole struct of binary view, \
struct of fixed size binary, struct of dictionary, struct of dictionary u8, struct of \
dictionary of int64, struct of vector, struct of vector16, struct of vector of bfloat16, list \
of blob, struct of blob, list of described blob, struct of described blob, whole struct of \
described blob, struct of json, struct of packed, list of struct of bool, struct of list of \
bool, struct of struct of bool, fixed size list of struct of bool, struct of fixed size list \
of bool, map of bool, list of map of bool, map of struct of bool, list of struct of int32, \
struct of list of int32, struct of struct of int32, fixed size list of struct of int32, struct \
of fixed size list of int32, map of int32, list of map of int32, map of struct of int32, fixed \
size list of string, list of struct of string, struct of list of string, struct of struct of \
string, fixed size list of struct of string, struct of fixed size list of string, list of \
fixed size list of string, map of string, list of map of string, map of struct of string, list \
of struct of dictionary, struct of list of dictionary, struct of struct of dictionary, fixed \
size list of struct of dictionary, struct of fixed size list of dictionary, map of dictionary, \
list of map of dictionary, map of struct of dictionary, large list of blob, fixed size list of \
blob, list of list of blob, list of struct of blob, struct of list of blob, struct of struct \
of blob, list of whole struct of blob, whole struct of list of blob, fixed size list of struct \
of blob, struct of fixed size list of blob, list of fixed size list of blob, map of blob, list \
of map of blob, map of struct of blob, fixed size list of json, list of struct of json, struct \
of list of json, struct of struct of json, fixed size list of struct of json, struct of fixed \
size list of json, list of fixed size list of json, map of json, list of map of json, map of \
struct of json\n\
unreadable: fixed size list of dictionary, list of fixed size list of dictionary\n\
changed: 0\n\
failing:\n\
";

pub(super) const V2_1: &str = "\
read: 221\n\
refused: described blob, list of blob, list of described blob, struct of described blob, whole \
struct of described blob, fixed size list of struct of bool, map of bool, list of map of bool, \
map of struct of bool, fixed size list of struct of int32, map of int32, list of map of int32, \
map of struct of int32, fixed size list of string, fixed size list of struct of string, struct \
of fixed size list of string, list of fixed size list of string, map of string, list of map of \
string, map of struct of string, fixed size list of dictionary, fixed size list of struct of \
dictionary, struct of fixed size list of dictionary, list of fixed size list of dictionary, \
map of dictionary, list of map of dictionary, map of struct of dictionary, large list of blob, \
fixed size list of blob, list of list of blob, list of struct of blob, struct of list of blob, \
list of whole struct of blob, whole struct of list of blob, fixed size list of struct of blob, \
struct of fixed size list of blob, list of fixed size list of blob, map of blob, list of map \
of blob, map of struct of blob, fixed size list of json, fixed size list of struct of json, \
struct of fixed size list of json, list of fixed size list of json, map of json, list of map \
of json, map of struct of json\n\
unreadable:\n\
changed: 0\n\
failing:\n\
";

pub(super) const V2_2: &str = "\
read: 252\n\
refused: fixed size list of string, struct of fixed size list of string, list of fixed size \
list of string, fixed size list of dictionary, struct of fixed size list of dictionary, list \
of fixed size list of dictionary, fixed size list of blob, fixed size list of struct of blob, \
struct of fixed size list of blob, list of fixed size list of blob, map of blob, list of map \
of blob, map of struct of blob, fixed size list of json, struct of fixed size list of json, \
list of fixed size list of json\n\
unreadable:\n\
changed: 0\n\
failing:\n\
";

pub(super) const V2_3: &str = V2_2;
