package entry

const _O_DIRECTORY = 0x10000
