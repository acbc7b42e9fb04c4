/** Text inside XML and HTML, in elements and in attributes. Characters that XML cannot hold become U+FFFD. */
const NAMES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
// eslint-disable-next-line no-control-regex -- these are what XML 1.0 excludes
const EXCLUDED = /[\u0000-\u0008\u000B\u000C\u000E-\u001F\uFFFE\uFFFF]/g;

export function escapeMarkup(text: string): string {
  return text.replaceAll(EXCLUDED, '\uFFFD').replaceAll(/[&<>"']/g, (character) => NAMES[character] ?? '');
}
