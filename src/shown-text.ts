/**
 * Text that a client or a file made up, for people to read: in messages, in the log, at the terminal.
 *
 * Control characters steer a terminal: ESC and U+009B begin a command to it, a carriage return writes over what it
 * shows. Bidirectional controls reorder a line, so that it reads as something it is not.
 */

/** C0, DEL, C1; bidirectional controls; separators of lines and paragraphs. */
const UNSAFE = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu
/** Those of them that JSON leaves as they are. */
const UNSAFE_IN_JSON = /[\u007f-\u009f\p{Bidi_Control}\p{Zl}\p{Zp}]/gu
const REPLACEMENT = '\ufffd'
const MAX_QUOTED_CHARACTERS = 80

/** Replaces what a reader could not see. */
export function printable(text: string): string {
  return text.replace(UNSAFE, REPLACEMENT)
}

/** The same JSON, with what a reader could not see written as `\uXXXX`. */
export function printableJson(json: string): string {
  return json.replace(
    UNSAFE_IN_JSON,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** A text in quotes, escaped, and shortened to `most` characters. */
export function quoted(text: string, most = MAX_QUOTED_CHARACTERS): string {
  return printableJson(JSON.stringify(text.length > most ? `${text.slice(0, most)}…` : text))
}
