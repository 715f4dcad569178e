import AVFoundation
import CoreImage

/// What the back camera sees, one picture at a time: those that come while one is worked on are dropped.
final class Camera: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate {
    private let session = AVCaptureSession()
    private let queue = DispatchQueue(label: "camera", qos: .userInitiated)
    private let context = CIContext()
    private var seen: (@Sendable (CGImage) -> Void)?

    /// - Parameter seen: called with a picture that stands upright, not on the main thread.
    func start(seen: @escaping @Sendable (CGImage) -> Void) async throws {
        guard await AVCaptureDevice.requestAccess(for: .video) else {
            throw Refused("the camera is not allowed: Settings, Privacy & Security, Camera")
        }
        guard let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .back) else {
            throw Refused("this device has no back camera")
        }
        let input = try AVCaptureDeviceInput(device: device)
        let output = AVCaptureVideoDataOutput()
        output.videoSettings = [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA]
        output.alwaysDiscardsLateVideoFrames = true
        output.setSampleBufferDelegate(self, queue: queue)
        queue.sync {
            self.seen = seen
            session.beginConfiguration()
            session.sessionPreset = .vga640x480
            if session.inputs.isEmpty, session.canAddInput(input), session.canAddOutput(output) {
                session.addInput(input)
                session.addOutput(output)
                output.connection(with: .video)?.videoRotationAngle = 90
            }
            session.commitConfiguration()
            session.startRunning()
        }
    }

    func stop() {
        queue.async { [session] in session.stopRunning() }
    }

    func captureOutput(
        _ output: AVCaptureOutput, didOutput buffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        guard let pixels = CMSampleBufferGetImageBuffer(buffer) else { return }
        let image = CIImage(cvPixelBuffer: pixels)
        guard let picture = context.createCGImage(image, from: image.extent) else { return }
        seen?(picture)
    }
}

extension CGImage {
    /// Scaled into the upper left of a picture of another shape, the rest grey: four bytes a pixel, and by how much.
    func fitted(width: Int, height: Int, padding: Int) -> (pixels: [UInt8], scale: Double)? {
        let scale = min(Double(width) / Double(self.width), Double(height) / Double(self.height))
        let size = CGSize(
            width: max(1, (Double(self.width) * scale).rounded()),
            height: max(1, (Double(self.height) * scale).rounded())
        )
        var pixels = [UInt8](repeating: UInt8(padding), count: 4 * width * height)
        let drawn = pixels.withUnsafeMutableBytes { bytes -> Bool in
            guard let colours = CGColorSpace(name: CGColorSpace.sRGB),
                let canvas = CGContext(
                    data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
                    space: colours, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            else { return false }
            canvas.interpolationQuality = .medium
            // A canvas counts from below.
            canvas.draw(self, in: CGRect(origin: CGPoint(x: 0, y: CGFloat(height) - size.height), size: size))
            return true
        }
        return drawn ? (pixels, scale) : nil
    }
}
