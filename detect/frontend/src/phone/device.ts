/** A word for this device, for the dashboard's list of phones. */
export function deviceName(userAgent: string, maxTouchPoints: number): string {
  if (/iPhone|iPod/.test(userAgent)) return "iPhone";
  if (/iPad/.test(userAgent)) return "iPad";
  if (/Macintosh/.test(userAgent)) return maxTouchPoints > 1 ? "iPad" : "Mac";
  const model = /Android [\d.]+; ([^;)]+?)(?: Build\/[^;)]*)?\)/.exec(userAgent)?.[1];
  // Browsers that hide the model say "K".
  if (model && model.length > 1) return model.slice(0, 40);
  if (/Android/.test(userAgent))
    return /Mobile/.test(userAgent) ? "Android phone" : "Android tablet";
  if (/Windows/.test(userAgent)) return "Windows computer";
  return /Linux|CrOS/.test(userAgent) ? "Linux computer" : "Camera";
}
