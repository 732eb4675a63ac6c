// Texts of the greatest lengths, of several kinds: the same ones in each run. They repeat less than what people write,
// so they compress worse.

export const TITLE_CHARS = 200;
export const CONTENT_CHARS = 20_000;
export const COMMENT_CHARS = 5_000;

/** A text of so many characters, without a blank at its ends. */
export type Write = (chars: number) => string;

/** The kinds of texts, by their names. */
export function textKinds(): Map<string, Write> {
  const random = randomNumbers();
  const words = vocabulary(random);
  const anyOf = <Item>(items: readonly Item[]) => items[random(items.length)] as Item;
  const codePoint = (from: number, count: number) => String.fromCodePoint(from + random(count));

  const sentence = () =>
    `${Array.from({ length: 5 + random(15) }, () => anyOf(words)).join(' ')}${anyOf(['.', '?', ', and', ';'])}`;
  const marked = () => {
    const [one, two, three] = [anyOf(words), anyOf(words), anyOf(words)];
    return anyOf([
      () => `**${one}** ${two}`,
      () => `[${one} ${two}](https://${three}.example/${one}?q=${two}&n=${random(1_000)})`,
      () => `\n\n- ${one} *${two}*\n- \`${three}\``,
      () => `\n\n> ${one} "${two}" <${three}>\n\n`,
      () => `\n\n\`\`\`js\nconst ${one} = ${two}('${three}');\n\`\`\`\n\n`,
      () => `${one} ${two} ${three}`,
    ])();
  };
  /** Kana and the commonest kanji, about as often as in newspapers. */
  const japanese = () =>
    random(10) < 6 ? codePoint(0x3041, 83) : random(12) === 0 ? '、' : codePoint(0x4e00, 2_136);

  return new Map<string, Write>([
    ['prose', written(() => `${sentence()} `)],
    ['Markdown', written(() => `${marked()} `)],
    ['Japanese', written(japanese)],
    ['emoji', written(() => codePoint(0x1f300, 720))],
    ['random letters', written(() => anyOf(LETTERS))],
  ]);
}

const LETTERS = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'];

function written(next: () => string): Write {
  return (chars) => {
    const all: string[] = [];
    while (all.length < chars) all.push(...next());
    return all.slice(0, chars).join('').trim();
  };
}

/** Four thousand words of two to four syllables. */
function vocabulary(random: (below: number) => number): string[] {
  const [begins, ends] = [
    'b c d f g l m n p r s t v th st pr'.split(' '),
    'a e i o u an er in al on'.split(' '),
  ];
  const syllable = () => `${begins[random(begins.length)]}${ends[random(ends.length)]}`;
  return Array.from({ length: 4_000 }, () => Array.from({ length: 2 + random(3) }, syllable).join(''));
}

/** Whole numbers from 0, below what is asked for: xorshift32 from a fixed seed. */
function randomNumbers(): (below: number) => number {
  let state = 0x9e3779b9;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
