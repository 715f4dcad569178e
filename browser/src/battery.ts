// How full the device's battery is, where the browser tells.

interface Battery {
  charging: boolean;
  chargingTime: number;
  level: number;
}

/** In percent; null where it is not told, or where there may be no battery at all: then browsers tell a full one. */
export async function batteryPercent(): Promise<number | null> {
  const asked = (navigator as { getBattery?: () => Promise<Battery> }).getBattery;
  const battery = await asked?.call(navigator).catch(() => undefined);
  if (!battery || (battery.charging && battery.level === 1 && battery.chargingTime === 0)) return null;
  return Math.round(100 * battery.level);
}
