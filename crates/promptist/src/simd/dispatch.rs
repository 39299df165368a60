//! One body, compiled once for each instruction set.
//!
//! The row functions (norms, attention, activations) are plain Rust over lanes of fixed width, which
//! the compiler vectorises as widely as it may. None of them uses `mul_add`, so they give the same
//! bits on every instruction set.

/// Defines `fn name(isa: Isa, arguments..)`, which runs `body(arguments..)` compiled for `isa`. The body
/// and what it calls must be `#[inline(always)]`: a function that is called is not compiled again.
macro_rules! for_each_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident
        $(<$generic:ident : $bound:path>)? ($($arg:ident : $ty:ty),* $(,)?) = $body:path;) => {
        $(#[$meta])*
        $vis fn $name $(<$generic: $bound>)? (isa: $crate::simd::Isa, $($arg: $ty),*) {
            use $crate::simd::Isa;

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
            fn avx512 $(<$generic: $bound>)? ($($arg: $ty),*) {
                $body($($arg),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2 $(<$generic: $bound>)? ($($arg: $ty),*) {
                $body($($arg),*);
            }
            match isa {
                // SAFETY: the CPU has what the function is compiled for: it was just asked.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 if isa.is_available() => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 if isa.is_available() => unsafe { avx2($($arg),*) },
                _ => $body($($arg),*),
            }
        }
    };
}

pub(crate) use for_each_isa;
