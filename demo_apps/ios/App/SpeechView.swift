import SwiftUI

/// What is said: sentences while they are spoken, or one digit, as the files are.
struct SpeechView: View {
    @StateObject private var listening: Listening

    init(files: DemoFiles) {
        _listening = StateObject(wrappedValue: Listening(files))
    }

    var body: some View {
        VStack(spacing: 24) {
            Text(listening.text).font(.title2).frame(maxWidth: .infinity, maxHeight: .infinity)
            Button(listening.listener == nil ? "Listen" : "Stop") {
                Task { await listening.toggle() }
            }
            .buttonStyle(.borderedProminent)
        }
        .padding()
    }
}

@MainActor
private final class Listening: ObservableObject {
    @Published var text = "Say something."
    @Published var listener: Listener?

    /// Sound is worked on in the order in which it came, and not where the screen is drawn.
    private let queue = DispatchQueue(label: "listening", qos: .userInitiated)
    private let files: DemoFiles
    private let microphone = Microphone()

    init(_ files: DemoFiles) {
        self.files = files
    }

    func toggle() async {
        do {
            if let listener {
                microphone.stop()
                self.listener = nil
                show { try listener.finish() }
            } else {
                try await start()
            }
        } catch {
            text = error.localizedDescription
        }
    }

    private func start() async throws {
        let made = try await makeListener(for: files, files.models(nil)[0])
        try await microphone.start(rate: made.rate) { [weak self] samples in
            self?.show { try made.hear(samples) }
        }
        text = "…"
        listener = made
    }

    nonisolated private func show(_ understood: @escaping () throws -> String) {
        queue.async {
            let told: String
            do { told = try understood() } catch { told = error.localizedDescription }
            Task { @MainActor in self.text = told }
        }
    }
}
