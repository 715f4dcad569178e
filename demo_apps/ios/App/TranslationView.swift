import SwiftUI

/// An English sentence into German.
struct TranslationView: View {
    let files: DemoFiles

    @State private var asked = "Where is my book?"
    @State private var answered = ""
    @State private var translator: Translator?
    @State private var isBusy = false

    var body: some View {
        VStack(spacing: 24) {
            TextField("An English sentence", text: $asked).textFieldStyle(.roundedBorder).onSubmit(translate)
            Button("Translate", action: translate).buttonStyle(.borderedProminent).disabled(isBusy)
            Text(answered).font(.title2).frame(maxWidth: .infinity, maxHeight: .infinity)
        }
        .padding()
    }

    private func translate() {
        isBusy = true
        let text = asked
        Task { @MainActor in
            do {
                let known = try await loaded()
                answered = try await Task.detached(priority: .userInitiated) { try known.translate(text) }.value
            } catch {
                answered = error.localizedDescription
            }
            isBusy = false
        }
    }

    @MainActor
    private func loaded() async throws -> Translator {
        if let translator { return translator }
        let models = try await files.models("encode", "step")
        let made = try Translator(files, encoder: models[0], stepper: models[1])
        translator = made
        return made
    }
}
