import Foundation

/// What a run of a demo left in its folder of files, copied into the app's own: a package, and `assets` beside it.
struct DemoFiles {
    let folder: URL

    /// The only package in the folder.
    func package() throws -> URL {
        let found = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
        let packages = found.filter { $0.pathExtension == "mlpackage" }
        guard let only = packages.first, packages.count == 1 else {
            let name = folder.lastPathComponent
            throw Refused("copy one .mlpackage and the folder assets beside it into the app's folder \(name)")
        }
        return only
    }

    func has(_ asset: String) -> Bool {
        FileManager.default.fileExists(atPath: place(of: asset).path)
    }

    func data(_ asset: String) throws -> Data {
        guard let data = try? Data(contentsOf: place(of: asset)) else {
            throw Refused("\(asset) is missing: copy the folder assets that lies beside the package")
        }
        return data
    }

    func json<Facts: Decodable>(_ asset: String, as facts: Facts.Type) throws -> Facts {
        do {
            return try JSONDecoder().decode(facts, from: data(asset))
        } catch is DecodingError {
            throw Refused("\(asset) is not as a run of the demo writes it: copy it again")
        }
    }

    private func place(of asset: String) -> URL {
        folder.appendingPathComponent("assets").appendingPathComponent(asset)
    }
}
