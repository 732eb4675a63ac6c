// The editor's workers: they complete, explain and check what is written. They are fetched when somebody begins to use
// the page; until then what is shown needs none of them.

/** What shows that somebody uses the page. */
const USES = ['pointerdown', 'keydown', 'focusin'] as const;

const used = new Promise<void>((resolve) => {
  const begin = () => {
    USES.forEach((type) => removeEventListener(type, begin, true));
    resolve();
  };
  USES.forEach((type) => addEventListener(type, begin, true));
});

async function workerFor(label: string): Promise<Worker> {
  await used;
  const { default: EditorWorker } = await (label === 'graphql'
    ? import('monaco-graphql/esm/graphql.worker.js?worker')
    : label === 'json'
      ? import('monaco-editor/esm/vs/language/json/json.worker.js?worker')
      : import('monaco-editor/esm/vs/editor/editor.worker.js?worker'));
  return new EditorWorker();
}

Object.assign(globalThis, {
  MonacoEnvironment: { getWorker: (_id: string, label: string) => workerFor(label) },
});
