import AVFoundation

/// What the microphone hears, as one channel at a rate of your choice.
final class Microphone {
    private let engine = AVAudioEngine()

    /// - Parameter heard: called with what is new, not on the main thread.
    func start(rate: Double, heard: @escaping @Sendable ([Float]) -> Void) async throws {
        guard await AVAudioApplication.requestRecordPermission() else {
            throw Refused("the microphone is not allowed: Settings, Privacy & Security, Microphone")
        }
        let session = AVAudioSession.sharedInstance()
        try session.setCategory(.record, mode: .measurement) // without the phone's own gain and filters
        try session.setActive(true)
        let given = engine.inputNode.outputFormat(forBus: 0)
        guard let wanted = AVAudioFormat(standardFormatWithSampleRate: rate, channels: 1),
            let converter = AVAudioConverter(from: given, to: wanted)
        else { throw Refused("the microphone's sound cannot be resampled to \(rate) Hz") }
        engine.inputNode.installTap(onBus: 0, bufferSize: 4096, format: given) { buffer, _ in
            heard(Self.converted(buffer, by: converter, to: wanted))
        }
        try engine.start()
    }

    func stop() {
        engine.inputNode.removeTap(onBus: 0)
        engine.stop()
    }

    private static func converted(
        _ buffer: AVAudioPCMBuffer, by converter: AVAudioConverter, to format: AVAudioFormat
    ) -> [Float] {
        let length = Double(buffer.frameLength) * format.sampleRate / buffer.format.sampleRate
        let room = AVAudioFrameCount(length) + 64
        guard let made = AVAudioPCMBuffer(pcmFormat: format, frameCapacity: room) else { return [] }
        var given = false
        converter.convert(to: made, error: nil) { _, status in
            status.pointee = given ? .noDataNow : .haveData
            defer { given = true }
            return given ? nil : buffer
        }
        guard let samples = made.floatChannelData?[0] else { return [] }
        return Array(UnsafeBufferPointer(start: samples, count: Int(made.frameLength)))
    }
}
