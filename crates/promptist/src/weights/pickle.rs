//! What a pickle of tensors says, found out without running it.
//!
//! A pickle is a program: one opcode calls any function of any module. This reader knows the
//! opcodes, and of the functions the handful, that `torch.save` needs for a dictionary of tensors;
//! it computes what those mean and refuses everything else by name and offset, before any tensor
//! is touched.
//!
//! burn-store's reader was the alternative. It is careful, but keeps objects that it does not know
//! as opaque values, so a scan of our own would have to come first; a file that the two take apart
//! differently would then pass the scan and reach the reader. One reader that admits nothing else
//! is the smaller and the stronger thing, and tensors stay in the mapped file.
//!
//! Containers (ZIP, the older stream of pickles) are in `torch.rs`.
//!
//! Source: CPython's `Lib/pickletools.py` for the opcodes; `torch/serialization.py` (`persistent_id`
//! in `_legacy_save` and `_save`) and `torch/_utils.py` (`_rebuild_tensor_v2`) for their use.

use std::collections::HashMap;
use std::fmt;

use super::{Dtype, Problem};

/// The longest pickle that is read. That of a model with ten thousand tensors has about 1 MB.
const MAX_PICKLE_BYTES: usize = 1 << 25;
/// The most values in one pickle, on its stack, and in its memo. Bounds the memory that a hostile
/// pickle can make us use: one byte of it costs at most one value.
const MAX_VALUES: usize = 1 << 22;
/// The highest rank of a tensor.
const MAX_RANK: usize = 16;

/// Reads one pickle from the start of `bytes`; more bytes may follow it.
///
/// # Errors
/// A [`Refusal`] for anything but the opcodes and functions that tensors need, for truncated or
/// inconsistent pickles, and for ones beyond all proportion. Never panics.
pub fn scan(bytes: &[u8]) -> Result<Pickle<'_>, Refusal> {
    let bytes = &bytes[..bytes.len().min(MAX_PICKLE_BYTES)];
    let mut machine = Machine { bytes, ..Machine::default() };
    let root = loop {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(root)) => break root,
            Err(reason) => return Err(Refusal { offset: at, reason }),
        }
    };
    Ok(Pickle { values: machine.values, root, len: machine.at })
}

/// Why a pickle is not read.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The offset of the opcode in the pickle.
    pub offset: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pickle refused at byte {}: {}", self.offset, self.reason)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::File(refusal.to_string())
    }
}

/// One pickle: nothing but dictionaries, lists, strings, numbers and tensors.
#[derive(Debug)]
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: ValueId,
    len: usize,
}

/// A tensor as the pickle describes it; nothing is checked against the storage's bytes yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PickledTensor<'a> {
    /// The storage that holds it.
    pub storage: Storage<'a>,
    /// Index of its first element in the storage.
    pub offset: usize,
    /// Its shape.
    pub shape: Vec<usize>,
    /// As many as dimensions, in elements.
    pub strides: Vec<usize>,
}

/// A flat array of numbers that tensors are views of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Storage<'a> {
    /// Its name in the container.
    pub key: &'a str,
    /// What it holds.
    pub dtype: Dtype,
    /// How many.
    pub numel: usize,
}

impl<'a> Pickle<'a> {
    /// How many bytes the pickle has.
    // Never empty: a pickle holds at least its STOP.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The whole pickle as a dictionary of tensors: name and tensor, in the file's order.
    ///
    /// # Errors
    /// A [`Problem`] if it is something else.
    pub fn tensors(&self) -> Result<Vec<(&'a str, &PickledTensor<'a>)>, Problem> {
        let Value::Dict(items) = &self.values[self.root] else {
            let found = self.values[self.root].kind();
            return Err(Problem::File(format!("expected a pickled dictionary of tensors, found {found}")));
        };
        let mut tensors = Vec::with_capacity(items.len());
        for &(key, value) in items {
            match (&self.values[key], &self.values[value]) {
                (&Value::Str(name), Value::Tensor(tensor)) => tensors.push((name, tensor)),
                (&Value::Str(name), other) => {
                    return Err(Problem::Tensor {
                        tensor: name.to_owned(),
                        expected: "a tensor".to_owned(),
                        found: other.kind().to_owned(),
                    });
                }
                (other, _) => {
                    return Err(Problem::File(format!("a key of the state dictionary is {}", other.kind())));
                }
            }
        }
        Ok(tensors)
    }

    /// The whole pickle as an integer.
    pub fn int(&self) -> Option<i64> {
        match self.values[self.root] {
            Value::Int(int) => Some(int),
            _ => None,
        }
    }

    /// The whole pickle as an integer beyond 64 bits: its bytes, little-endian.
    pub fn long(&self) -> Option<&'a [u8]> {
        match self.values[self.root] {
            Value::Long(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The whole pickle as a list of strings.
    pub fn strings(&self) -> Option<Vec<&'a str>> {
        let Value::List(items) = &self.values[self.root] else {
            return None;
        };
        let string = |&id: &ValueId| match self.values[id] {
            Value::Str(string) => Some(string),
            _ => None,
        };
        items.iter().map(string).collect()
    }

    /// The boolean at `key` of the whole pickle, a dictionary.
    pub fn bool_at(&self, key: &str) -> Option<bool> {
        let Value::Dict(items) = &self.values[self.root] else {
            return None;
        };
        items.iter().find_map(|&(k, v)| match (&self.values[k], &self.values[v]) {
            (Value::Str(name), Value::Bool(value)) if *name == key => Some(*value),
            _ => None,
        })
    }
}

/// Values refer to each other by index, not by pointer: a pickle may nest or tie them into a
/// knot as it likes without us recursing over it.
type ValueId = usize;

#[derive(Debug)]
enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, such as the legacy format's magic number: its bytes.
    Long(&'a [u8]),
    Float,
    Str(&'a str),
    Tuple(Vec<ValueId>),
    List(Vec<ValueId>),
    Dict(Vec<(ValueId, ValueId)>),
    Global(Global),
    Storage(Storage<'a>),
    Tensor(PickledTensor<'a>),
}

impl Value<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Long(_) => "an integer",
            Self::Float => "a floating-point number",
            Self::Str(_) => "a string",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Global(_) => "a class or function",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// The classes and functions that a dictionary of tensors needs. There are no others.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageOf(Dtype),
}

impl Global {
    fn named(module: &str, name: &str) -> Option<Self> {
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", "DoubleStorage") => Some(Self::StorageOf(Dtype::F64)),
            ("torch", "FloatStorage") => Some(Self::StorageOf(Dtype::F32)),
            ("torch", "HalfStorage") => Some(Self::StorageOf(Dtype::F16)),
            ("torch", "BFloat16Storage") => Some(Self::StorageOf(Dtype::BF16)),
            ("torch", "LongStorage") => Some(Self::StorageOf(Dtype::I64)),
            ("torch", "IntStorage") => Some(Self::StorageOf(Dtype::I32)),
            ("torch", "ShortStorage") => Some(Self::StorageOf(Dtype::I16)),
            ("torch", "CharStorage") => Some(Self::StorageOf(Dtype::I8)),
            ("torch", "ByteStorage") => Some(Self::StorageOf(Dtype::U8)),
            ("torch", "BoolStorage") => Some(Self::StorageOf(Dtype::BOOL)),
            _ => None,
        }
    }
}

/// The pickle machine: a stack, marks on it, and a memo.
#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<ValueId>,
    /// Heights of the stack at each open MARK.
    marks: Vec<usize>,
    memo: HashMap<u32, ValueId>,
}

type Step<T> = Result<T, String>;

impl<'a> Machine<'a> {
    /// One opcode. The root at STOP, otherwise nothing.
    fn step(&mut self) -> Step<Option<ValueId>> {
        match self.u8()? {
            // PROTO
            0x80 => {
                let version = self.u8()?;
                if version > 5 {
                    return Err(format!("pickle protocol {version} is unknown"));
                }
            }
            // FRAME: how many bytes follow; nothing depends on it.
            0x95 => drop(self.take(8)?),
            // STOP
            b'.' => {
                let root = self.pop()?;
                return match (self.marks.len(), self.stack.len()) {
                    (0, 0) => Ok(Some(root)),
                    _ => Err("STOP, but the stack holds more than the result".to_owned()),
                };
            }
            // MARK
            b'(' => {
                self.check_room(self.marks.len())?;
                self.marks.push(self.stack.len());
            }
            // POP, POP_MARK
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),

            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            // BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
            b'J' => {
                let int = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(int.into()))?;
            }
            b'K' => {
                let int = self.u8()?;
                self.push(Value::Int(int.into()))?;
            }
            b'M' => {
                let int = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(int.into()))?;
            }
            0x8a => {
                let len = self.u8()?;
                self.long(len.into())?;
            }
            0x8b => {
                let len = self.u32()?;
                self.long(len as usize)?;
            }
            b'G' => {
                self.take(8)?;
                self.push(Value::Float)?;
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8; SHORT_BINSTRING, BINSTRING of Python 2
            0x8c | b'U' => {
                let len = self.u8()?;
                self.string(len.into())?;
            }
            b'X' | b'T' => {
                let len = self.u32()?;
                self.string(len as usize)?;
            }
            0x8d => {
                let len = u64::from_le_bytes(self.array()?);
                self.string(usize::try_from(len).unwrap_or(usize::MAX))?;
            }

            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => self.push(Value::Tuple(Vec::new()))?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let items = self.pop_mark()?;
                self.push(Value::Tuple(items))?;
            }
            // EMPTY_LIST, LIST, APPEND, APPENDS
            b']' => self.push(Value::List(Vec::new()))?,
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Value::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.set_items(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }

            // BINPUT, LONG_BINPUT, MEMOIZE; BINGET, LONG_BINGET
            b'q' => {
                let idx = self.u8()?;
                self.memoize(idx.into())?;
            }
            b'r' => {
                let idx = self.u32()?;
                self.memoize(idx)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?,
            b'h' => {
                let idx = self.u8()?;
                self.recall(idx.into())?;
            }
            b'j' => {
                let idx = self.u32()?;
                self.recall(idx)?;
            }

            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.values[module], &self.values[name]) {
                    (&Value::Str(module), &Value::Str(name)) => self.global(module, name)?,
                    _ => return Err("STACK_GLOBAL without two strings".to_owned()),
                }
            }
            // BINPERSID, REDUCE, BUILD
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Value::Storage(storage))?;
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let value = self.call(callable, arguments)?;
                self.push(value)?;
            }
            b'b' => {
                let _state = self.pop()?;
                match self.top()? {
                    // An OrderedDict's attributes, which torch sets to `_metadata`: of no use here.
                    Value::Dict(_) => {}
                    other => {
                        return Err(format!("BUILD on {}: only tensors are read", other.kind()));
                    }
                }
            }
            opcode => {
                return Err(format!(
                    "opcode 0x{opcode:02x} is not one that tensors need: only tensors are read"
                ));
            }
        }
        Ok(None)
    }

    // --- operands -----------------------------------------------------------------------------

    fn take(&mut self, len: usize) -> Step<&'a [u8]> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| match self.bytes.len() {
            MAX_PICKLE_BYTES => format!("longer than {MAX_PICKLE_BYTES} bytes"),
            _ => "truncated".to_owned(),
        })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Step<[u8; LEN]> {
        Ok(*self.take(LEN)?.first_chunk().expect("as many bytes as were taken"))
    }

    fn u8(&mut self) -> Step<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Step<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Text up to the next line feed.
    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n').ok_or("truncated")?;
        let line = self.take(len)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| "a name is not UTF-8".to_owned())
    }

    fn string(&mut self, len: usize) -> Step<()> {
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| "a string is not UTF-8")?;
        self.push(Value::Str(text))
    }

    /// A little-endian integer of any length, in two's complement.
    fn long(&mut self, len: usize) -> Step<()> {
        let bytes = self.take(len)?;
        if len > 8 {
            return self.push(Value::Long(bytes));
        }
        let fill = if bytes.last().is_some_and(|&last| last >= 0x80) { 0xff } else { 0 };
        let mut buffer = [fill; 8];
        buffer[..len].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(buffer)))
    }

    // --- stack and memo -----------------------------------------------------------------------

    fn check_room(&self, used: usize) -> Step<()> {
        if used < MAX_VALUES { Ok(()) } else { Err(format!("more than {MAX_VALUES} values")) }
    }

    fn push(&mut self, value: Value<'a>) -> Step<()> {
        self.check_room(self.values.len())?;
        self.values.push(value);
        self.push_id(self.values.len() - 1)
    }

    fn push_id(&mut self, id: ValueId) -> Step<()> {
        self.check_room(self.stack.len())?;
        self.stack.push(id);
        Ok(())
    }

    /// Takes the top value, never one below the last MARK.
    fn pop(&mut self) -> Step<ValueId> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("the stack is empty".to_owned());
        }
        self.stack.pop().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn pop_mark(&mut self) -> Step<Vec<ValueId>> {
        let mark = self.marks.pop().ok_or("no MARK is open")?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&mut self) -> Step<&mut Value<'a>> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(&mut self.values[top])
    }

    fn memoize(&mut self, idx: u32) -> Step<()> {
        let top = self.pop()?;
        self.stack.push(top);
        self.check_room(self.memo.len())?;
        self.memo.insert(idx, top);
        Ok(())
    }

    fn recall(&mut self, idx: u32) -> Step<()> {
        let id = *self.memo.get(&idx).ok_or_else(|| format!("nothing is memoized at {idx}"))?;
        self.push_id(id)
    }

    // --- building values ----------------------------------------------------------------------

    fn tuple(&mut self, len: usize) -> Step<()> {
        let mut items = (0..len).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
        items.reverse();
        self.push(Value::Tuple(items))
    }

    fn append(&mut self, mut items: Vec<ValueId>) -> Step<()> {
        match self.top()? {
            Value::List(list) => list.append(&mut items),
            other => return Err(format!("APPEND to {}", other.kind())),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[ValueId]) -> Step<()> {
        let (pairs, rest) = items.as_chunks::<2>();
        match self.top()? {
            Value::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)))
            }
            Value::Dict(_) => return Err("SETITEMS with a key that has no value".to_owned()),
            other => return Err(format!("SETITEM on {}", other.kind())),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        let Some(global) = Global::named(module, name) else {
            let [module, name] = [module, name].map(|text| text.chars().take(100).collect::<String>());
            return Err(format!("it asks for `{module}.{name}`: only tensors are read"));
        };
        self.push(Value::Global(global))
    }

    /// `callable(*arguments)`, of the few callables there are.
    fn call(&self, callable: ValueId, arguments: ValueId) -> Step<Value<'a>> {
        let Value::Global(global) = self.values[callable] else {
            return Err(format!("a call of {}", self.values[callable].kind()));
        };
        let Value::Tuple(arguments) = &self.values[arguments] else {
            return Err(format!("a call with {} for arguments", self.values[arguments].kind()));
        };
        match (global, arguments.as_slice()) {
            (Global::OrderedDict, []) => Ok(Value::Dict(Vec::new())),
            // storage, storage_offset, size, stride; then requires_grad, backward_hooks, metadata
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                self.tensor(storage, offset, shape, strides).map(Value::Tensor)
            }
            // data; then requires_grad, backward_hooks
            (Global::RebuildParameter, &[data, ..]) => match &self.values[data] {
                Value::Tensor(tensor) => Ok(Value::Tensor(tensor.clone())),
                other => Err(format!("a parameter made of {}", other.kind())),
            },
            (global, arguments) => Err(format!("a call of {global:?} with {} arguments", arguments.len())),
        }
    }

    fn tensor(
        &self,
        storage: ValueId,
        offset: ValueId,
        shape: ValueId,
        strides: ValueId,
    ) -> Step<PickledTensor<'a>> {
        let Value::Storage(storage) = self.values[storage] else {
            return Err(format!("a tensor made of {}", self.values[storage].kind()));
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(format!("a tensor of shape {shape:?} with strides {strides:?}"));
        }
        Ok(PickledTensor { storage, offset: self.size(offset)?, shape, strides })
    }

    /// The persistent id of a storage: `("storage", class, key, location, numel)`, in the legacy
    /// format with a sixth item for views of other storages, which no current torch writes.
    fn storage(&self, id: ValueId) -> Step<Storage<'a>> {
        let unexpected = || "a persistent id that is not a storage's".to_owned();
        let Value::Tuple(items) = &self.values[id] else {
            return Err(unexpected());
        };
        let (&[tag, class, key, _location, numel], view) =
            items.split_first_chunk::<5>().ok_or_else(unexpected)?;
        let (Value::Str("storage"), Value::Global(Global::StorageOf(dtype)), Value::Str(key)) =
            (&self.values[tag], &self.values[class], &self.values[key])
        else {
            return Err(unexpected());
        };
        match view {
            [] => {}
            [view] if matches!(self.values[*view], Value::None) => {}
            _ => return Err("a storage that is a view of another".to_owned()),
        }
        Ok(Storage { key, dtype: *dtype, numel: self.size(numel)? })
    }

    fn size(&self, id: ValueId) -> Step<usize> {
        match self.values[id] {
            Value::Int(int) => usize::try_from(int).map_err(|_| format!("a size of {int}")),
            ref other => Err(format!("a size that is {}", other.kind())),
        }
    }

    fn sizes(&self, id: ValueId) -> Step<Vec<usize>> {
        match &self.values[id] {
            Value::Tuple(items) if items.len() <= MAX_RANK => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            Value::Tuple(items) => Err(format!("a tensor with {} dimensions", items.len())),
            other => Err(format!("a shape that is {}", other.kind())),
        }
    }
}
