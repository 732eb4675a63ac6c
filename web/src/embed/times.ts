// Times as people say them, "5 minutes ago".

const UNITS = [
  ['year', 365 * 24 * 3600],
  ['month', 30 * 24 * 3600],
  ['week', 7 * 24 * 3600],
  ['day', 24 * 3600],
  ['hour', 3600],
  ['minute', 60],
] as const;

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
/** In the reader's own language and time zone. */
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });

export function ago(time: string): string {
  const seconds = (Date.parse(time) - Date.now()) / 1_000;
  const [unit, length] = UNITS.find(([, length]) => -seconds >= length) ?? [];
  return unit && length ? relative.format(Math.ceil(seconds / length), unit) : 'just now';
}

export function exactly(time: string): string {
  return exact.format(new Date(time));
}
