"""An APK of Debian's packages alone: our app's own manifest, an activity that does nothing, and a key of the day."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

from tests.devices.phone._fixtures import needs

__all__ = ["APP", "FRAMEWORK", "built", "linked"]

APP = Path(__file__).parents[3] / "demo_apps" / "android" / "app" / "src" / "main"
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
ACTIVITY = """.class public Lmobiledistill/benchmark/BenchmarkActivity;
.super Landroid/app/Activity;
.method public constructor <init>()V
    .registers 1
    invoke-direct {p0}, Landroid/app/Activity;-><init>()V
    return-void
.end method
"""


def linked(folder: Path, version: int = 1, *, package: str = "mobiledistill.benchmark") -> Path:
    """Resources and manifest of the app, compiled and linked as a build does it."""
    needs("aapt2", "aapt")
    resources, manifest, apk = (
        folder / "resources.zip",
        folder / "AndroidManifest.xml",
        folder / f"linked-{version}.apk",
    )
    # The build puts the package in, which a manifest of today does not hold.
    text = (APP / "AndroidManifest.xml").read_text()
    text = re.sub(r"<uses-native-library [^>]*/>", "", text)  # Android 12's; Debian's aapt2 is of Android 10
    manifest.write_text(text.replace("<manifest ", f'<manifest package="{package}" ', 1))
    subprocess.run(["aapt2", "compile", "--dir", APP / "res", "-o", resources], check=True)
    link = ["aapt2", "link", "-o", apk, "--manifest", manifest, "-I", FRAMEWORK, resources]
    versions = ["--version-code", str(version), "--version-name", str(version)]
    subprocess.run([*link, *versions, "--min-sdk-version", "26", "--target-sdk-version", "34"], check=True)
    return apk


def built(folder: Path, version: int = 1, *, package: str = "mobiledistill.benchmark") -> Path:
    """An APK that a phone would install: with a dex, aligned and signed."""
    needs("smali", "zipalign", "apksigner", "keytool")
    apk, dex, aligned, key = (
        linked(folder, version, package=package),
        folder / "classes.dex",
        folder / "app.apk",
        folder / "key",
    )
    (folder / "BenchmarkActivity.smali").write_text(ACTIVITY)
    subprocess.run(["smali", "assemble", folder / "BenchmarkActivity.smali", "-o", dex], check=True)
    with zipfile.ZipFile(apk, "a") as archive:
        archive.write(dex, "classes.dex")
    subprocess.run(["zipalign", "-f", "-p", "4", apk, aligned], check=True)
    if not key.exists():
        who = ["-dname", "CN=tests", "-alias", "tests", "-keyalg", "RSA", "-storetype", "PKCS12"]
        store = ["-keystore", key, "-storepass", "secret"]
        subprocess.run(["keytool", "-genkeypair", *who, *store], check=True, capture_output=True)
    subprocess.run(["apksigner", "sign", "--ks", key, "--ks-pass", "pass:secret", aligned], check=True)
    return aligned
