/** htm's own types are those of a CommonJS module; a browser gets its ES module. */
declare const htm: {
  bind<Node>(
    create: (type: string, props: Record<string, unknown>, ...children: never[]) => Node,
  ): (strings: TemplateStringsArray, ...values: unknown[]) => Node
}
export default htm
