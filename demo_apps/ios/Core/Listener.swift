/// What makes words of sound.
protocol Listener: AnyObject {
    /// Samples a second that it wants.
    var rate: Double { get }

    /// What has been understood so far.
    func hear(_ samples: [Float]) throws -> String

    /// What has been understood, now that nothing follows.
    func finish() throws -> String
}

/// For what the files are of: sentences or digits.
func makeListener(for files: DemoFiles, _ model: Model) throws -> Listener {
    if files.has(Sentences.asset) { return try Sentences(files, model) }
    return try Digits(files, model)
}
