// In place of the editors that compare two texts: GraphiQL has none, and they are large. vite.config.ts puts it there.

export function DiffEditorWidget() {}
export function MultiDiffEditorWidget() {}
