// How many requests and subscriptions ended with each code, at each service.

import { SOURCE_NAMES, SOURCES } from './metrics';
import type { History } from './useHistory';

export function Errors({ errors }: { errors: History['errors'] }) {
  const read = SOURCE_NAMES.filter((name) => errors[name] !== undefined);
  const codes = new Map<string, number>();
  for (const name of read)
    for (const { code, all } of errors[name] ?? []) codes.set(code, (codes.get(code) ?? 0) + all);
  const sorted = [...codes].sort(([one, few], [other, many]) => many - few || one.localeCompare(other));
  return (
    <section className="errors" aria-labelledby="errors">
      <h2 id="errors">Errors by code</h2>
      {read.length > 0 && sorted.length === 0 && (
        <p className="explanation">None since the services were started.</p>
      )}
      {sorted.length > 0 && (
        <p className="explanation">
          Since each service was started; with a plus, since you opened this page.
        </p>
      )}
      {sorted.length > 0 && (
        <div className="wide" tabIndex={0} role="region" aria-labelledby="errors">
          <table>
            <thead>
              <tr>
                <th scope="col">Code</th>
                {read.map((name) => (
                  <th scope="col" key={name}>
                    {SOURCES[name].title}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {sorted.map(([code]) => (
                <tr key={code}>
                  <th scope="row">
                    <code>{code}</code>
                  </th>
                  {read.map((name) => {
                    const found = errors[name]?.find((count) => count.code === code);
                    return (
                      <td key={name}>
                        {found ? found.all.toLocaleString('en') : '–'}
                        {found && found.here > 0 && <small> +{found.here.toLocaleString('en')}</small>}
                      </td>
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
