//! The report of an enclave, as a processor would make it.

/// What an enclave's report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclave {
    /// MRENCLAVE.
    pub mrenclave: [u8; 32],
    /// MRSIGNER.
    pub mrsigner: [u8; 32],
    /// ISVPRODID.
    pub product: u16,
    /// ISVSVN.
    pub svn: u16,
    /// Whether the host may read the enclave's memory.
    pub debug: bool,
    /// Report data.
    pub data: [u8; 64],
}

impl Default for Enclave {
    fn default() -> Self {
        Self { mrenclave: [0xe1; 32], mrsigner: [0x51; 32], product: 1, svn: 0, debug: false, data: [7; 64] }
    }
}

impl Enclave {
    /// The 384 bytes of the report, on a processor of this CPUSVN.
    pub(crate) fn report(&self, cpu_svn: [u8; 16], flags: u8) -> [u8; 384] {
        let mut report = [0; 384];
        let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &cpu_svn);
        put(48, &[flags | if self.debug { DEBUG } else { 0 }]);
        // XFRM: x87, SSE and more.
        put(56, &[0xe7]);
        put(64, &self.mrenclave);
        put(128, &self.mrsigner);
        put(256, &self.product.to_le_bytes());
        put(258, &self.svn.to_le_bytes());
        put(320, &self.data);
        report
    }
}

const DEBUG: u8 = 0x02;
