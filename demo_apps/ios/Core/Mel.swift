import MobiledistillNative

/// The tables of a front end.
final class Mel {
    let tables: OpaquePointer

    init(_ spec: md_mel_spec) throws {
        guard let made = withUnsafePointer(to: spec, { md_mel_new($0) }) else { throw Refused("memory is short") }
        tables = made
    }

    deinit {
        md_mel_free(tables)
    }
}
